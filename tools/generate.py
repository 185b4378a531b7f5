"""Writes what is generated and committed: schema, table of fields, tables of RESULTS.md and one
whole page.
"""

import json
from pathlib import Path

import result_tables

from harness import study

ROOT = Path(__file__).resolve().parent.parent
MARKERS = ("<!-- fields: generated from harness/study -->\n", "<!-- end of fields -->")


def page(text: str) -> str:
    """Returns the page with the table of now between its markers."""
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return before + MARKERS[0] + study.field_table() + MARKERS[1] + after


if __name__ == "__main__":
    schema = json.dumps(study.json_schema(), indent=1) + "\n"
    (ROOT / "studies" / "study.schema.json").write_text(schema, encoding="utf-8")
    table = ROOT / "docs" / "study.md"
    table.write_text(page(table.read_text(encoding="utf-8")), encoding="utf-8")
    result_tables.RESULTS.write_text(
        result_tables.page(result_tables.RESULTS.read_text(encoding="utf-8")), encoding="utf-8"
    )
    page_of = result_tables.asked_report(result_tables.SHOWN).html()
    (result_tables.STUDIES / "results" / result_tables.SHOWN / "report.html").write_text(
        page_of, encoding="utf-8"
    )
