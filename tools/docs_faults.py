"""The page of faults: what is injected, by which tests, how often, and how often it was survived.

``make faults`` runs the tests that tests/faults.toml names, file by file, and keeps what their
cases did in studies/bench/faults.json. What is interrupted goes on where it was: a test that was
counted at this commit is not run again, and those that were counted at an earlier one are run last.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness import provenance

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "faults.toml"
BENCH = ROOT / "studies" / "bench"
RECORD = BENCH / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
HEAD = """\
# What a study survives

Each fault is put into a study, or into the part that meets it, by tests that `tests/faults.toml`
names. *Tried* counts their cases that ran, *survived* those that ended as they must; `make faults`
counts again. A dash says that no case has been counted.
"""
KILLS = """\
## Kills at random

Small studies are killed at moments that are drawn at random, up to seven times each, and then end.
Each is compared with one that nobody disturbed: runs that are *lost* or there *twice*, numbers and
points that are *other*, what `harness doctor` *finds*, and launches that end as they must not.
`make kills` goes on where it was.

| stores | studies | what was killed | lost | twice | other | found | bad ends | counted |
|---|---:|---|---:|---:|---:|---:|---:|---|\
"""
STORES = {"files": "SQLite files", "ray": "SQLite files, Ray", "postgres": "PostgreSQL"}
SOAK = """\
## Half an hour of small studies

One process runs study after study in new folders; between them others are killed and end. What
grows is the median from the first third of the samples to the last. `make soak` counts again.

| of the process, or left on the disk | has grown by | may grow by |
|---|---:|---:|\
"""


def groups() -> list[dict[str, Any]]:
    """Returns the groups of faults, each with a title and its faults."""
    found: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["group"]
    return found


def tests() -> list[str]:
    """Returns all tests that inject a fault, each once, file by file."""
    return sorted({test for group in groups() for each in group["fault"] for test in each["tests"]})


def stored() -> list[dict[str, Any]]:
    """Returns the sittings in which tests were counted, the last one last.

    Each says when, where and at which commit that was, and test -> outcome -> number of cases. A
    test is part of the last sitting alone that counted it.
    """
    if not RECORD.exists():
        return []
    found: list[dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def counted(sittings: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Returns what was counted in some sittings: test -> outcome -> number of cases."""
    return {test: cases for sitting in sittings for test, cases in sitting["tests"].items()}


def page(sittings: Sequence[Mapping[str, Any]]) -> str:
    """Returns the page with what was counted."""
    lines = [HEAD]
    if sittings:
        where = [
            f"{len(each['tests'])} at commit {each['git_commit'][:7]}, {each['date']}, "
            f"{each['device_name']}"
            for each in sittings
        ]
        lines.append(f"Tests counted: {'; '.join(where)}.\n")
    cases = counted(sittings)
    for group in groups():
        lines += [f"## {group['title']}\n", "| fault | what happens | tried | survived |"]
        lines += ["|---|---|---:|---:|", *(_row(each, cases) for each in group["fault"])]
        lines.append("")
    return "\n".join([*lines, *_kills(), *_soak()])


def _kills() -> Iterator[str]:
    """Yields the section of random kills, a row a kind of store."""
    yield KILLS.rstrip("\n")
    told = []
    for name, title in STORES.items():
        path = BENCH / f"kills-{name}.jsonl"
        if path.exists():
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            sums = next(row for row in reversed(rows) if "studies" in row)
            struck = ", ".join(
                f"{sums[key]:,} {key.removesuffix('_kills')}s" for key in sums if "_kills" in key
            )
            numbers = [sums[key] for key in ("lost", "doubled", "differing", "found", "bad_ends")]
            where = "; ".join(dict.fromkeys(map(_sitting, (r for r in rows if "date" in r))))
            cells = (title, sums["studies"], struck, *numbers, where)
            yield f"| {' | '.join(map(str, cells))} |"
            for row in rows:
                for text in row["found"] if "study" in row else ():
                    told.append(f"Found in {title}, study {row['study']}: {text.split(',')[0]}.")
    yield from ("", *told)
    yield ""


def _soak() -> Iterator[str]:
    """Yields the section of the half hour, where one was kept."""
    path = BENCH / "soak.json"
    if not path.exists():
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    yield SOAK.rstrip("\n")
    for name, limit in known["limits"].items():
        title, unit = name.replace("_", " "), 1
        if name.endswith("_bytes"):
            title, unit = f"{name.removesuffix('_bytes')}, MB", 2**20
        yield f"| {title} | {known['grown'][name] / unit:,.0f} | {limit / unit:,.0f} |"
    yield f"\n{known['studies']} studies, {known['kills']} kills; {_sitting(known)}.\n"


def _sitting(known: Mapping[str, Any]) -> str:
    return f"commit {known['git_commit'][:7]}, {known['date']}, {known['device_name']}"


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
    sittings = stored()
    if not sittings or sittings[-1]["git_commit"] != commit:
        now = {"date": date.today().isoformat(), **provenance.describe("cpu"), "tests": {}}
        sittings.append(now)
    present, earlier = sittings[-1], counted(sittings[:-1])
    wanted = [test for test in tests() if test not in present["tests"]]
    wanted.sort(key=lambda test: test in earlier)
    for file, of_file in groupby(wanted, key=lambda test: test.partition("::")[0]):
        names = list(of_file)
        print(f"{file}: {len(names)} tests", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            words = ["-q", "--no-header", f"--junitxml={report}", *(f"tests/{n}" for n in names)]
            subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False)
            found = outcomes(report)
        for sitting in sittings:
            for name in names:
                sitting["tests"].pop(name, None)
        present["tests"] |= {test: found.get(test.partition("::")[2], {}) for test in names}
        write([sitting for sitting in sittings if sitting["tests"]])
    return not any(cases.get("failed") for cases in counted(sittings).values())


def write(sittings: Sequence[Mapping[str, Any]]) -> None:
    """Keeps sittings, and writes the page."""
    text = json.dumps(sittings, indent=1, ensure_ascii=False)
    RECORD.write_text(f"{text}\n", encoding="utf-8")
    PAGE.write_text(page(sittings), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(0 if count() else 1)
