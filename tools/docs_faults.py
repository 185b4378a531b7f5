"""The page of faults: what is injected, by which tests, how often, and how often it was survived.

``make faults`` runs the tests that tests/faults.toml names, file by file, and keeps what their
cases did in studies/bench/faults.json. What is interrupted goes on where it was: a test that was
counted at this commit is not run again.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness import provenance

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "faults.toml"
RECORD = ROOT / "studies" / "bench" / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
HEAD = """\
# What a study survives

Each fault is put into a study, or into the part that meets it, by tests that `tests/faults.toml`
names. *Tried* counts their cases that ran, *survived* those that ended as they must; `make faults`
counts again. A dash says that no case has been counted.

Random kills by the thousand, on Ray and in PostgreSQL, and half an hour of small studies are runs
of their own, `make kills` and `make soak`.
"""


def groups() -> list[dict[str, Any]]:
    """Returns the groups of faults, each with a title and its faults."""
    found: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["group"]
    return found


def tests() -> list[str]:
    """Returns all tests that inject a fault, each once, file by file."""
    return sorted({test for group in groups() for each in group["fault"] for test in each["tests"]})


def stored() -> dict[str, Any]:
    """Returns what was counted last: test -> outcome -> number of cases, and where that was."""
    if not RECORD.exists():
        return {"tests": {}}
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def page(record: Mapping[str, Any]) -> str:
    """Returns the page with what was counted."""
    lines = [HEAD]
    if record["tests"]:
        where = f"{record['git_commit'][:7]}, {record['date']}, {record['device_name']}"
        lines.append(f"Counted at commit {where}.\n")
    for group in groups():
        lines += [f"## {group['title']}\n", "| fault | what happens | tried | survived |"]
        lines += ["|---|---|---:|---:|", *(_row(each, record["tests"]) for each in group["fault"])]
        lines.append("")
    return "\n".join(lines)


def _row(fault: Mapping[str, Any], counted: Mapping[str, Mapping[str, int]]) -> str:
    cases: Counter[str] = Counter()
    for test in fault["tests"]:
        cases.update(counted.get(test, {}))
    tried = cases["passed"] + cases["failed"]
    numbers = f"{tried} | {cases['passed']}" if tried else "– | –"
    return f"| {fault['what']} | {fault['then']} | {numbers} |"


def outcomes(report: Path) -> dict[str, Counter[str]]:
    """Returns test -> outcome -> number of cases, from a report of pytest's in JUnit's XML."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "skipped" if "skipped" in kinds else "passed"
        outcome = "failed" if kinds & {"failure", "error"} else outcome
        found.setdefault(case.attrib["name"].partition("[")[0], Counter())[outcome] += 1
    return found


def count() -> bool:
    """Counts what was not counted at this commit, and returns whether no case failed."""
    commit, _ = provenance.commit()
    record = stored()
    if record.get("git_commit") != commit:
        record = {"date": date.today().isoformat(), **provenance.describe("cpu"), "tests": {}}
    for file, of_file in groupby(tests(), key=lambda test: test.partition("::")[0]):
        names = [test for test in of_file if test not in record["tests"]]
        if not names:
            continue
        print(f"{file}: {len(names)} tests", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            words = ["-q", "--no-header", f"--junitxml={report}", *(f"tests/{n}" for n in names)]
            subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False)
            found = outcomes(report)
        record["tests"] |= {test: found.get(test.partition("::")[2], {}) for test in names}
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(page(record), encoding="utf-8")
    return not any(cases.get("failed") for cases in record["tests"].values())


if __name__ == "__main__":
    sys.exit(0 if count() else 1)
