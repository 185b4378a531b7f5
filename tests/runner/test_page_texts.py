from types import SimpleNamespace

import pytest
from planted import build, pair, study

from harness.runner import page_texts


@pytest.fixture
def report():
    """A real report: gru is 5 % worse than lstm."""
    return build(study("lstm", "gru"), pair(0.05, 0.02))


def planned(name, word, is_baseline=False):
    decision = SimpleNamespace(verdict=word, num_pairs=5)
    return SimpleNamespace(name=name, decision=decision, is_baseline=is_baseline)


def test_the_first_line_is_the_answer_and_where_to_look(report):
    links = page_texts.links("7", ["answer", "curves"], "abc")
    first = page_texts.description(report, links).splitlines()[0]
    assert first.startswith("Compared with lstm, ")
    word = report.table.set_index("arm")["verdict"]["gru"].split(" and ")[0]
    assert f"{word}: gru · [report](#/experiments/7/runs/abc/artifacts/report.html) · " in first
    assert "[curves](#/experiments/7/runs?workflowType=machine_learning&viewState" in first


def test_the_rest_of_the_description_is_the_reports_own(report):
    assert page_texts.description(report, "links").partition("\n\n")[2] == report.note()


def test_names_that_no_line_holds_are_counted():
    assert page_texts._shortened(["lstm", "gru", "rnn"], 20) == "lstm, gru, rnn"
    assert page_texts._shortened(["lstm", "gru", "rnn-tanh"], 17) == "lstm and 2 more"
    assert page_texts._shortened(["a-very-long-name", "gru"], 19) == "a-ve…ame and 1 more"
    assert page_texts._shortened(["a-very-long-name", "gru"], 12) == "2"


LONG = "lstm-with-a-name-of-seventy-characters-that-somebody-wrote-in-earnest-"


@pytest.mark.parametrize("num_arms", [2, 3, 9, 40])
@pytest.mark.parametrize("length", [1, 20, 70])
@pytest.mark.parametrize("is_missing", [False, True])
def test_the_answer_is_one_line_however_many_and_long_the_names_are(num_arms, length, is_missing):
    names = [f"{LONG[: max(0, length - 2)]}{i}" for i in range(num_arms)]
    words = ["better", "worse", "undecided", "equivalent", "identical", "not comparable"]
    results = [planned(name, words[i % len(words)], not i) for i, name in enumerate(names)]
    report = SimpleNamespace(
        study=SimpleNamespace(baseline=SimpleNamespace(name=names[0])),
        missing=["a seed"] * is_missing,
        conditions=["one"],
        results=results,
    )
    answer = page_texts.short_answer(report)
    assert len(answer) <= page_texts.LINE_LENGTH
    if num_arms == 3:
        assert "worse: " in answer and "undecided: " in answer


def test_conditions_are_counted():
    words = {"docs": "better", "fables": "better", "poems": "undecided"}
    study = SimpleNamespace(baseline=SimpleNamespace(name="lstm"))
    report = SimpleNamespace(
        study=study,
        missing=["a seed"],
        conditions=list(words),
        results=[
            r for word in words.values() for r in (planned("lstm", "", True), planned("gru", word))
        ],
    )
    text = "Incomplete so far; compared with lstm, better in 2 of 3: gru"
    assert page_texts.short_answer(report) == text


def test_cells_say_what_the_report_says(report):
    cells = page_texts.cells(report.results[1], "test")
    row = report.table.set_index("arm").loc["gru"]
    assert cells["ratio with interval"].startswith(f"{row['ratio']:.3f} ({row['ratio_low']:.3f}–")
    assert float(cells["test perplexity"]) == pytest.approx(row["perplexity"], rel=1e-3)
    assert cells["n"] == str(row["finished"]) and cells["verdict"] in row["verdict"]
    baseline = page_texts.cells(report.results[0], "test")
    assert (baseline["verdict"], baseline["ratio with interval"], baseline["p"]) == (
        "baseline",
        "",
        "",
    )
