"""Writes what is generated and committed.

That is the schema, the table of fields, the pages of messages, of faults and of comparisons with
other libraries, RESULTS.md's tables, and what is known of cells.
"""

import json
from pathlib import Path

import docs_faults
import docs_oracles
import result_tables

import cells
from harness import catalog, study
from harness.study.codes import messages_page

ROOT = Path(__file__).resolve().parent.parent
MARKERS = ("<!-- fields: generated from harness/study -->\n", "<!-- end of fields -->")


def with_field_table(text: str) -> str:
    """Returns the page with the current table of fields between its markers."""
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return before + MARKERS[0] + study.field_table() + MARKERS[1] + after


def main() -> None:
    """Writes the files."""
    schema = json.dumps(study.json_schema(), indent=1) + "\n"
    (ROOT / "studies" / "study.schema.json").write_text(schema, encoding="utf-8")
    catalog.FACTS.write_text(catalog.facts_json(cells.names()), encoding="utf-8")
    (ROOT / "docs" / "messages.md").write_text(messages_page(), encoding="utf-8")
    (ROOT / "docs" / "oracles.md").write_text(docs_oracles.page(), encoding="utf-8")
    docs_faults.PAGE.write_text(docs_faults.page(docs_faults.stored()), encoding="utf-8")
    for path, generated in (
        (ROOT / "docs" / "study.md", with_field_table),
        (result_tables.RESULTS, result_tables.page),
    ):
        path.write_text(generated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
