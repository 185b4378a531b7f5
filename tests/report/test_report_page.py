"""The page: one sound file that needs nothing beside it."""

import html
import re
from html.parser import HTMLParser

import pytest
from planted import BASE, build, full, run_rows, study, timing_rows, two_conditions


class Page(HTMLParser):
    """Collects what a page refers to and checks that its elements close in order."""

    VOID = ("meta", "br", "img", "link", "hr", "input")

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
    assert not {"script", "link", "iframe", "img"} & set(page.tags) and "@import" not in text
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
    assert text.index(html.escape(built.answer)) < text.index("<nav") < text.index("<table")
    glance = text[text.index('<div class="glance">') : text.index("<nav")]
    found = re.findall(r'<span class="verdict (\w+)">([^<]*)</span>', glance)
    assert [(kind, words.split(" ")[0]) for kind, words in found[::2]] == [
        ("worse", "worse"),
        ("better", "better"),
        ("undecided", "undecided"),
    ]
    assert [words.split(" ")[1] for _, words in found[1::2]] == ["faster"] * 3


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


def test_what_was_fixed_and_how_to_run_it_again(text):
    assert '<tr><th scope="row">bptt_length</th><td>35</td></tr>' in text
    assert '<tr><th scope="row">learning_rate</th>' not in text  # it was tuned
    assert '<tr><th scope="row">Versions</th><td>python 3.11.7, torch 2.13.0</td></tr>' in text
    assert '<tr><th scope="row">Commit</th><td>c0ffee</td></tr>' in text
    assert (
        "git checkout c0ffee\nharness run output-tanh.yaml --set fix.bptt_length=20</pre>" in text
    )
    assert "<pre>study: output-tanh\n</pre>" in text


def test_provenance_may_be_unknown():
    assert "Nothing is known of it." in build(study("lstm", "gru")).html()


def test_samples_by_update():
    samples = [
        {"prefix": "so", "text": f"so {word}", "update": update}
        for update, word in ((1, "ee"), (9, "it was"))
    ]
    samples += [{"prefix": "so", "text": "so it is"}]
    found = build(study("lstm"), run_rows("lstm", BASE, samples=samples)).html()
    assert (
        '<th scope="col">Arm</th><th scope="col" class="number">Update</th><th scope="col">so</th>'
        in found
    )
    assert '<th scope="row">lstm</th><td class="number">9</td><td>so it was</td>' in found
    assert '<th scope="row">lstm</th><td class="number">best</td><td>so it is</td>' in found


def test_several_conditions_have_each_their_part():
    found = two_conditions().html()
    page = sound(found)
    for anchor in (
        "overview",
        "time-machine-part",
        "docs-part",
        "docs-costs",
        "docs-learning-curves-tokens",
        "fixed",
    ):
        assert anchor in page.ids
    assert found.index('id="time-machine-part"') < found.index('id="docs-part"')
    # What differs between the conditions is told as such, and is not among what was fixed.
    assert '<tr><th scope="row">docs/gru</th><td>python-docs</td></tr>' in found
    assert '<th scope="row">corpus</th>' not in found


def test_a_long_table_is_folded_away():
    names = [f"arm-{i}" for i in range(14)]
    timings = [row for name in names for row in timing_rows(name, 0.1)]
    found = build(
        study(*names), [row for name in names for row in run_rows(name, BASE)], timings
    ).html()
    folded = re.findall(r"<summary>(.*?)</summary>", found)
    assert folded == ["14 rows", "All of them", "The study file"]  # the main tables never are
