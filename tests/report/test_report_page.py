"""The page: one sound file that needs nothing beside it."""

import html
import itertools
import json
import re
from datetime import date
from html.parser import HTMLParser

import pandas as pd
import pytest
from planted import (
    BASE,
    across,
    build,
    full,
    pair,
    run_rows,
    study,
    timing_rows,
    two_conditions,
    under,
)

from harness import report
from harness.report import drawing, notebook, samples, sentences, tables


class Page(HTMLParser):
    """Collects what a page refers to and checks that its elements close in order."""

    VOID = ("meta", "br", "wbr", "img", "link", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.labels, self.references, self.ids, self.tags, self.roles = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.references += [
            v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data")
        ]
        self.references += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in values.values()))
        self.ids += [values["id"]] if "id" in values else []
        if tag == "svg":
            self.labels.append(values["aria-label"])
            self.roles.append(values["role"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def built():
    return full()


@pytest.fixture(scope="module")
def text(built):
    return built.html()


def sound(text):
    """Returns the page, once it is well formed, refers to itself alone, and names nothing twice."""
    page = Page(text)
    assert page.open == []
    assert set(re.findall(r"https?://[^\"' <]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert all(
        reference.startswith("#") and reference[1:] in page.ids for reference in page.references
    )
    assert len(set(page.ids)) == len(page.ids)
    assert not {"link", "iframe", "img"} & set(page.tags) and "@import" not in text
    assert page.tags.count("script") == 1  # inline: it refers to nothing
    assert set(page.roles) <= {"img"} and all(page.labels)
    return page


def test_the_page_is_sound(built, text):
    labels = [label.split(":")[0] for label in sound(text).labels]
    assert labels[:3] == ["Paired differences", "Learning curves", "Learning curves"]
    assert len(labels) == len(built.figures) and "Runtime" in labels and "Trials" in labels


def test_texts_are_escaped(text):
    assert "a &lt;script&gt; in a warning" in text and "Source: A &lt;paper&gt;" in text
    assert "the &lt;b&gt; &amp; psy" in text  # a sample
    assert "rnn|&lt;b&gt;" in text and "rnn|<b>" not in text


def test_the_answer_comes_first_and_each_verdict_has_its_word(built, text):
    first = text[text.index('<section class="result') : text.index("<nav")]
    assert html.escape(built.answer) in first and 'id="paired-differences"' in first
    found = re.findall(r'<span class="verdict (\w+)">([^<]*)</span>', first)
    assert [(kind, words.split(" ")[0]) for kind, words in found[::2]] == [
        ("worse", "worse"),
        ("better", "better"),
        ("undecided", "undecided"),
    ]
    assert [words.split(" ")[0] for _, words in found[1::2]] == ["faster"] * 3
    for result in built.results[1:]:  # a ratio is said once
        assert first.split("<figure")[0].count(tables.decided_text(result).split(" ")[0]) == 1
        low, _, high = tables.decided_text(result).partition("(")[2].split(" ")
        assert f" ({low}\u00a0to\u00a0{high}</span>" in first  # an interval is never broken


def test_every_heading_is_one_level_below_the_last_at_most(text):
    for page in (text, two_conditions().html(), build(study("lstm", "gru")).html()):
        levels = [int(level) for level in re.findall(r"<h(\d)", page)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_all_that_is_read_stands_in_landmarks_with_names_of_their_own(text):
    for page in (text, two_conditions().html()):
        body = page[page.index("<body>") :]
        outside = re.sub(r"<(header|main|footer|script)>.*?</\1>", "", body, flags=re.DOTALL)
        assert re.sub(r"<[^>]*>", "", outside).strip() == ""
        names = re.findall(r'<nav aria-label="([^"]*)"', page)
        assert len(names) == page.count("<nav") == len(set(names))


def test_the_fewer_are_the_columns_of_the_first_table():
    names = ("lstm", "gru", "rnn", "mgu")
    planned = across(study(*names), a="time-machine", b="python-docs")
    rows = [r for c in planned.conditions for n in names for r in under(c, run_rows(n, BASE))]
    many, few = build(planned, rows).html(), two_conditions().html()
    head = '<th scope="col">{}</th>'.format
    assert head("Arm") + head("a") + head("b") in many
    assert head("Condition") in few and head("docs") not in few


def test_the_names_of_a_figure_are_cut_where_they_would_leave_it_no_room():
    long = "lstm-with-a-name-that-somebody-wrote-in-earnest-and-256-hidden-units"
    built = build(study("lstm", long), run_rows("lstm", BASE) + run_rows(long, BASE + 0.1))
    drawn = built.figures["paired-differences"]
    svg = drawn.svg()
    for line in drawing.in_two_lines(drawing.shortened(long)).split("\n"):
        assert f">{line}</text>" in svg
    assert f">{long}</text>" not in svg and long in built.html()
    for baseline in ("lstm", long):
        rows = [r for name in (baseline, "X" * 60) for r in run_rows(name, BASE)]
        figure = build(study(baseline, "X" * 60), rows).figures["paired-differences"].figure
        figure.draw_without_rendering()
        axes = figure.axes[0]
        assert axes.get_position().width > 0.5
        label = axes.xaxis.label.get_window_extent()
        assert label.x0 > 0 and label.x1 < figure.bbox.width


def test_a_study_without_a_run_has_no_table_of_ends():
    assert "How the runs ended" not in build(study("lstm", "gru")).html()


def test_what_would_decide_is_said_beside_the_signs(built, text):
    first = text[: text.index("<nav")]
    assert "more seeds should decide it" in first
    assert first.count("if effect and spread stay as observed") == 1
    whole = "<summary>Every verdict in a whole sentence</summary><ul>"
    assert html.escape(built.sentences[0]) in text[text.index(whole) :]


def test_the_first_screen_says_when_and_how_long():
    rows = run_rows("lstm", BASE, seconds=120.0, pack_size=4) + run_rows("gru", BASE + 0.1)
    frames = pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame()
    built = report.build(study("lstm", "gru"), *frames, begun=date(2026, 2, 3))
    assert (
        built.effort == "Begun on 2026-02-03; 20 runs, 5 minutes of training by their own clocks."
    )
    assert built.effort in built.html()
    assert build(study("lstm", "gru"), pair(0.1, 0.02)).effort == ""


def test_records_say_when_their_runs_began():
    first, second = "2026-02-03T23:59:59Z", "2026-02-05T00:00:00Z"
    rows = run_rows("lstm", BASE, started=second) + run_rows("gru", BASE + 0.1, started=first)
    built = build(study("lstm", "gru"), rows)
    assert built.effort.startswith("Begun on 2026-02-03")
    assert ("Run", "2026-02-03 to 2026-02-05") in built.provenance.rows


def test_a_sole_verdict_colours_the_answer():
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE + 0.1)
    assert '<section class="result worse">' in build(study("lstm", "gru"), rows).html()
    assert '<section class="result mixed">' in two_conditions().html()


def test_every_figure_names_the_arms(built, text):
    svgs = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    for svg, drawn in zip(svgs, built.figures.values(), strict=True):
        for result in built.results[1:3]:
            assert f">{result.name}</text>" in svg or f"<!-- {result.name} -->" in svg, drawn.name


def test_the_same_report_is_the_same_page(text):
    assert full.__wrapped__().html() == text


def test_what_was_fixed_and_how_to_run_it_again(built, text):
    assert '<tr><th scope="row">bptt_length</th><td>35</td></tr>' in text
    assert '<tr><th scope="row">learning_rate</th>' not in text  # it was tuned
    assert '<tr><th scope="row">Versions</th><td>python 3.11.7, torch 2.13.0</td></tr>' in text
    assert '<tr><th scope="row">Commit</th><td>c0ffee</td></tr>' in text
    assert html.escape("\n".join(built.commands)) + "</pre>" in text
    assert '<pre tabindex="0">study: output-tanh\n</pre>' in text  # the keyboard scrolls it


def test_provenance_may_be_unknown():
    assert "Nothing is known of it." in build(study("lstm", "gru")).html()


def test_samples_by_update():
    written = [
        {"prefix": "so", "text": f"so {word}", "update": update}
        for update, word in ((1, "ee"), (9, "it was"))
    ]
    written += [{"prefix": "so", "text": "so it is"}]
    built = build(study("lstm"), run_rows("lstm", BASE, samples=written))
    section = samples.section(built.results)
    assert section.header == ("Arm", "Update", "so")
    assert section.rows == [
        ("lstm", "1", "so ee"),
        ("lstm", "9", "so it was"),
        ("lstm", "best", "so it is"),
    ]
    assert '</i>lstm</th><td class="number">9</td><td>so it was</td>' in built.html()


def test_drawn_samples_stand_below_the_greedy_ones_of_their_arm():
    written = [
        {"prefix": "so", "text": "so be", "temperature": 0.8},
        {"prefix": "so", "text": "so it is"},
    ]
    rows = [row for arm in ("lstm", "gru") for row in run_rows(arm, BASE, samples=written)]
    section = samples.section(build(study("lstm", "gru"), rows).results)
    assert section.header == ("Arm", "Drawn", "so")
    assert section.rows == [
        (arm, how, text)
        for arm in ("lstm", "gru")
        for how, text in (("greedy", "so it is"), ("at temperature 0.8", "so be"))
    ]


def test_several_conditions_have_each_their_part():
    found = two_conditions().html()
    page = sound(found)
    for anchor in (
        "time-machine-part",
        "docs-part",
        "docs-costs",
        "docs-learning-curves-tokens",
        "fixed",
    ):
        assert anchor in page.ids
    first = found[: found.index("<nav")]
    for condition, verdict in (("time-machine", "worse"), ("docs", "better")):
        row = first[first.index(f'<th scope="row">{condition}</th>') :].split("</tr>")[0]
        assert f">{verdict} " in row and ">speed: faster " in row
    assert "gru is worse under 1 of 2 conditions and better under 1" in first
    assert 'id="paired-differences-by-condition"' in first
    assert found.index('id="time-machine-part"') < found.index('id="docs-part"')
    # What differs between the conditions is told as such, and is not among what was fixed.
    assert '<tr><th scope="row">docs/<wbr>gru</th><td>python-docs</td></tr>' in found
    assert '<th scope="row">corpus</th>' not in found


def test_of_many_arms_an_answer_says_how_many():
    names = ["lstm", *(f"arm-{i}" for i in range(sentences.MOST_NAMED + 1))]
    rows = [r for k, name in enumerate(names) for r in run_rows(name, BASE + 0.1 * (k > 0))]
    found = build(study(*names), rows)
    assert found.answer.endswith(f"{len(names) - 1} arms are worse.")
    fewer = [row for row in rows if row["arm"] != "arm-0"]
    assert "arm-1, arm-2" in build(study(*[n for n in names if n != "arm-0"]), fewer).answer


def test_a_long_question_is_set_smaller():
    assert "<h1>" in build(study("lstm", "gru")).html()
    assert '<h1 class="long">' in build(study("lstm", "gru", question="Why? " * 60)).html()


def test_a_long_table_is_folded_away():
    names = [f"arm-{i}" for i in range(14)]
    timings = [row for name in names for row in timing_rows(name, 0.1)]
    found = build(
        study(*names), [row for name in names for row in run_rows(name, BASE)], timings
    ).html()
    folded = re.findall(r"<summary>(.*?)</summary>", found)
    sentences = "Every verdict in a whole sentence"
    assert folded == [sentences, "14 rows", "All of them", "The study file"]  # no main table is


def test_a_figure_tells_its_values_where_they_are_drawn(built):
    """A point's place is that of its mark in the SVG."""
    drawn = built.figures["paired-differences"]
    x, y, text = drawn.places()[0]
    assert text == f"lstm-no-output-tanh: worse {tables.decided_text(built.results[1])}"
    places = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', drawn.svg())
    assert any(abs(float(a) - x) < 0.1 and abs(float(b) - y) < 0.1 for a, b in places)
    for name, figure in built.figures.items():
        assert figure.places() and figure.scales(), name
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', figure.svg()).groups())
        assert all(0 <= p.x <= width and 0 <= p.y <= height for p in figure.places()), name
        assert not any("nan" in p.text for p in figure.places()), name


def test_points_are_written_as_json_that_no_name_breaks(text):
    points = [json.loads(html.unescape(t)) for t in re.findall(r'data-points="([^"]*)"', text)]
    told = {text for figure in points for _, _, text in figure}
    assert any(t.startswith("rnn|<b>: undecided ") for t in told)
    assert any(re.fullmatch(r"lstm: [\d.]+ \([\d.]+ to [\d.]+\) at 100 k tokens", t) for t in told)


def test_a_dark_page_has_no_black_of_its_own_in_its_figures(text):
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    for color in ("#000000", "#ffffff", "#dddddd", "#666666"):
        assert f": {color}" not in svgs and f", {color})" in svgs


def test_each_arm_has_its_colour_beside_its_name(built, text):
    looks = drawing.palette(built.results)
    for result in built.results[1:3]:
        mark = f'<i class="arm" style="background: {looks[result.name].color}"></i>{result.name}'
        assert f'<th scope="row">{mark}</th>' in text


def test_a_notebook_shows_answer_verdicts_and_figure(built):
    for each in (built, two_conditions()):
        shown = each._repr_html_()
        page = Page(shown)
        assert page.open == [] and not {"script", "link", "style"} & set(page.tags)
        assert html.escape(each.headline) in shown and "<table>" in shown and "<svg" in shown
    assert "rnn|<b>" not in built._repr_html_()
    assert re.search(r">[\d.]+ \([\d.]+\u00a0to\u00a0[\d.]+\)</td>", built._repr_html_())
    assert "a &lt;script&gt; in a warning" in built._repr_html_()
    assert "<svg" not in build(study("lstm", "gru"))._repr_html_()


def test_a_notebook_shows_the_main_columns_of_results(built):
    shown = notebook.results_html("a <study>", built.table, ["w <b>"], 1234)
    assert Page(shown).open == []
    assert "a &lt;study&gt;" in shown and "1,234 runs" in shown and "w &lt;b&gt;" in shown
    assert "<th>arm</th><th>verdict</th><th>perplexity</th>" in shown
    assert "<th>condition</th>" not in shown  # there is but one, without a name
    ratio = built.table.set_index("arm")["ratio"]["gru_reset"]
    assert "<td>gru_reset</td><td>better</td>" in shown and f"<td>{ratio:.4g}</td>" in shown
