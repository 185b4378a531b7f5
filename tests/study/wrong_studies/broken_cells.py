"""A file of cells that raises while it is imported."""

raise RuntimeError("the author was called away")
