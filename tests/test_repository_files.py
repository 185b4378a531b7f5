"""The files that a repository's host, its citers and its containers read, say what is so."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ENTITY_OR_PERSON = {"name", "family-names", "given-names", "affiliation", "orcid", "website"}
CITATION_FIELDS = {
    "abstract",
    "authors",
    "cff-version",
    "commit",
    "date-released",
    "doi",
    "keywords",
    "license",
    "message",
    "repository-code",
    "title",
    "type",
    "url",
    "version",
}
"""Those of version 1.2.0 of the Citation File Format that a software of ours may need."""


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def citation_problems(values):
    """What breaks the rules of the Citation File Format 1.2.0."""
    problems = [
        f"{name}: missing" for name in ("authors", "message", "title") if not values.get(name)
    ]
    problems += [f"{name}: unknown" for name in values if name not in CITATION_FIELDS]
    if values.get("cff-version") != "1.2.0":
        problems.append("cff-version: not 1.2.0")
    if values.get("type", "software") not in ("software", "dataset"):
        problems.append("type: neither software nor dataset")
    for author in values.get("authors", []):
        if not author.keys() <= ENTITY_OR_PERSON or not author.keys() & {"name", "family-names"}:
            problems.append(f"authors: {author}")
    keywords = values.get("keywords", ["-"])
    if not keywords or len(set(keywords)) < len(keywords):
        problems.append("keywords: none, or one twice")
    released = values.get("date-released", "2000-01-01")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", released):
        problems.append("date-released: not YYYY-MM-DD")
    return problems


def test_the_bibtex_that_the_page_shows_is_that_of_the_citation_file():
    page = (ROOT / "docs" / "how-to" / "cite.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^  (\w+) +=[ ]\{(.+)\},$", page, re.MULTILINE))
    kept = citation()
    assert shown == {
        "title": kept["title"],
        "author": " and ".join(f"{{{each['name']}}}" for each in kept["authors"]),
        "version": kept["version"],
        "date": kept["date-released"],
        **({"url": kept["repository-code"]} if "repository-code" in kept else {}),
    }
    assert f"`year = {{{kept['date-released'][:4]}}}`" in page


def citation():
    # Dates and numbers stay texts, as the format's schema sees them.
    return yaml.load((ROOT / "CITATION.cff").read_text(), yaml.BaseLoader)


def test_the_citation_keeps_the_rules_of_its_format():
    assert citation_problems(citation()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"authors": []},
        {"authors": [{"email": "a@b"}]},
        {"cff-version": "1.1.0"},
        {"date-released": "27.11.2026"},
        {"keywords": ["a", "a"]},
        {"licence": "MIT"},
        {"title": ""},
        {"type": "program"},
    ],
)
def test_a_wrong_citation_is_noticed(change):
    assert len(citation_problems(citation() | change)) == 1


def test_one_version_stands_everywhere():
    cited, changes = citation(), (ROOT / "CHANGELOG.md").read_text()
    assert cited["version"] == project()["version"] and cited["license"] == project()["license"]
    latest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    assert latest is not None and latest[1] == project()["version"]
    assert latest[2] == cited["date-released"]
    assert datetime.date.fromisoformat(latest[2])


def test_the_workflow_does_what_a_change_must_pass_and_nothing_else():
    workflow = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(), yaml.BaseLoader)
    assert set(workflow["on"]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-1] == "bash .ci/run" and (ROOT / ".ci/run").is_file()
    assert not any("git config" not in command for command in commands[:-1])


def test_every_form_for_an_issue_can_be_shown():
    forms = {path.stem: path for path in (ROOT / ".github/ISSUE_TEMPLATE").iterdir()}
    assert forms.keys() == {"bug", "cell", "question", "config"}
    for path in (forms[name] for name in forms.keys() - {"config"}):
        form = yaml.load(path.read_text(), yaml.BaseLoader)
        assert form["name"] and form["description"], path
        names = [field["id"] for field in form["body"]]
        assert len(set(names)) == len(names), path
        for field in form["body"]:
            assert field["type"] in ("textarea", "input") and field["attributes"]["label"], path


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_what_an_image_copies_is_there_and_is_all_that_an_install_needs(name):
    text = (ROOT / name).read_text()
    lines = text.replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / path).exists() for path in copied)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(copied) & set(ignored)
    # What pyproject.toml and setup.py read, and the folders that the wheel is made of.
    needed = {"pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.lock"}
    assert needed | {"cells", "harness", "docs", "studies"} <= set(copied)
    assert lines[-2] == 'ENTRYPOINT ["harness"]'
