"""``harness cost``: what any cells cost at given hidden sizes, counted and measured.

From the bottom: record (what is found, and its JSON), counts (closed forms, and torch's own
counter), roof (the machine's peak and bandwidth), energy and memory (what the system reports),
request (the options), subject (a cell at a size), measure (all in rounds), table and figure.
"""
