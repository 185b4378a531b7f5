"""The report as Markdown, CSV, LaTeX, files and on a terminal."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from planted import BASE, build, full, measuring, run_rows, study, timing_rows, two_conditions
from rich.console import Console

import harness
from harness.report import forms
from harness.report.tables import Section


@pytest.fixture(scope="module")
def built():
    return full()


def printed(built, width=80, verbose=False):
    console = Console(
        width=width, record=True, file=io.StringIO(), color_system="standard", force_terminal=True
    )
    built.terminal(console, verbose)
    return console.export_text(styles=True)


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_terminal_fits_80_columns(built):
    text = printed(built)
    lines = plain(text).splitlines()
    assert max(map(len, lines)) <= 80
    line = next(line for line in lines if line.startswith("lstm-no-output-tanh"))
    perplexity = f"{np.exp(BASE.mean() + 0.03):.3f}"
    assert line.split() == [
        "lstm-no-output-tanh",
        perplexity,
        "1.030",
        "(1.016-1.045)",
        "0.003",
        "1.10",
        "worse",
    ]
    assert lines[1].split()[:2] == ["Arm", "(test)"]
    table = lines[: lines.index("")]
    assert len(table) == 3 + 4  # no row is wrapped
    for colour, word in ((31, "worse"), (32, "better"), (33, "undecided")):
        assert re.search(rf"\x1b\[{colour}m{word}", text)
    assert "a <script> in a warning" in plain(text)


def test_a_speed_has_its_interval_where_there_is_room_and_else_a_sign():
    timings = timing_rows("lstm", 0.1) + timing_rows("gru", 0.1) + timing_rows("rnn-tanh", 0.05)
    rows = [row for arm in ("lstm", "gru", "rnn-tanh") for row in run_rows(arm, BASE)]
    made = build(study("lstm", "gru", "rnn-tanh"), rows, timings)
    wide, narrow = printed(made, 120), printed(made, 70)
    assert re.search(r"gru .*1\.000 \(0\.998-1\.003\)", wide), wide
    assert "no difference is shown" not in wide
    assert re.search(r"gru .* \(1\.00\) ", narrow) and re.search(r"tanh.* 2\.00 ", narrow), narrow
    assert "Speed in ( ): no difference is shown." in narrow


def test_an_interval_of_one_arm_is_no_difference_among_all():
    """Fifteen rounds of twenty: p is 0.041 for gru alone, and more than 0.1 among three arms."""
    names = ("lstm", "gru", "mgu", "rnn-tanh")
    rows = [row for name in names for row in run_rows(name, BASE)]
    timings = [row for name in names for row in timing_rows(name, 0.1)]
    for row in timings:
        if row["arm"] == "gru":
            row["tokens_per_second"] *= 0.9 if row["round"] % 4 else 1.05
    made = build(study(*names), rows, timings)
    wide, narrow = printed(made, 120), printed(made, 70)
    assert re.search(r"gru .* 0\.901 \(0\.899-0\.903\)\*", wide), wide
    assert "Speed *: no difference is shown among all arms." in wide
    assert re.search(r"gru .* \(0\.90\) ", narrow), narrow
    assert narrow.count("no difference is shown") == 1


@pytest.mark.parametrize("width", [70, 80, 120])
def test_an_undecided_speed_is_told_from_a_decided_one_in_every_form(width):
    """Three rounds are too few for an interval, and for a verdict."""
    timings = [
        row for arm, at in (("lstm", 0.1), ("gru", 0.05)) for row in timing_rows(arm, at)[:3]
    ]
    rows = [row for arm in ("lstm", "gru") for row in run_rows(arm, BASE)]
    text = printed(build(study("lstm", "gru"), rows, timings), width)
    assert re.search(r"gru .* 2\.00\? ", text) and "?: undecided." in text, text


def test_a_long_name_is_broken_at_its_joints():
    name = "lstm-no-forget-gate-and-many-words"
    made = build(study("lstm", name), run_rows("lstm", BASE) + run_rows(name, BASE + 0.03))
    lines = [line.split("  ")[0].strip() for line in printed(made, 70).splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("lstm-"))
    assert lines[first].endswith("-") and name.startswith(lines[first] + lines[first + 1])


@pytest.mark.parametrize("width", [68, 80])
def test_names_of_several_settings_are_broken_at_their_joints_beside_a_long_title(width):
    names = [f"cell=rnn-leaky,head={head},horizon=3" for head in ("value", "gaussian", "quantiles")]
    rows = [row for j, name in enumerate(names) for row in run_rows(name, BASE + 0.03 * j)]
    (only,) = build(study(*names), rows).conditions
    console = Console(width=width, file=io.StringIO())
    title = "Mean squared error (test, of scaled values)"
    console.print(forms.terminal(only.results, title, console))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rule = next(i for i, line in enumerate(lines) if line.startswith("─"))
    parts = [line.split()[0] for line in lines[rule + 1 :] if line and line[0] != " "]
    assert "".join(parts) == "".join(names)
    assert all(part.endswith((",", "-", "=", "horizon=3")) for part in parts), parts


def test_a_number_in_an_arms_name_is_whole():
    assert forms.broken_at_joints("cell=lstm-coupled,hidden_size=24", 20).splitlines() == [
        "cell=lstm-coupled,",
        "hidden_size=24",
    ]
    assert forms.broken_at_joints("hidden_size=24", 13).splitlines() == ["hidden_size=", "24"]


def test_bounds_that_have_signs_are_told_apart():
    rows = run_rows("lstm", -0.90 - BASE / 100) + run_rows("gru", -0.91 + BASE / 100)
    made = build(study("lstm", "gru", measure=measuring(objective="validation/accuracy")), rows)
    shown = plain(printed(made))
    assert re.search(r"[-+]0\.\d+ \([-+]0\.\d+ to [-+]0\.\d+\)", shown), shown


def test_the_terminal_ends_with_the_answer_below_a_table(built):
    lines = plain(printed(built)).splitlines()
    assert " ".join(" ".join(lines[lines.index("") + 3 :]).split()) == built.answer
    assert len(lines) < 16 and not any("paired seeds" in line for line in lines)


def test_the_verbose_terminal_tells_everything(built):
    lines = plain(printed(built, verbose=True)).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert text.endswith(built.answer)
    for sentence in built.sentences:
        assert sentence in text
    for title in ("Costs", "Tuned values", "How the runs ended"):
        assert title in lines


def test_a_long_warning_is_whole_on_lines_that_fit():
    warning = "gru: " + "a long story " * 12
    rows = [row for name in ("lstm", "gru") for row in run_rows(name, BASE)]
    long = build(study("lstm", "gru"), rows, warnings=[warning.strip()])
    shown = plain(printed(long))
    assert max(map(len, shown.splitlines())) <= 80
    assert f"Warning: {warning.strip()}" in " ".join(shown.split())


def test_terminal_of_several_conditions():
    lines = plain(printed(two_conditions())).splitlines()
    assert max(map(len, lines)) <= 80
    titles = [i for i, line in enumerate(lines) if line.strip() in ("time-machine", "docs")]
    assert [lines[i + 2].split()[0] for i in titles] == ["Arm", "Arm"]
    rows = [line.split() for line in lines if line.startswith("gru  ")]
    assert [row[-1] for row in rows] == ["worse", "better"]


def test_markdown_is_a_table_on_github(built):
    text = built.markdown()
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == len([s for s in built.conditions[0].sections if s.rows])
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "| rnn\\|&lt;b> |" in text
    assert f"| {BASE.mean() / np.log(2):.3f} |  |  |  | 10 of 10 |" in text
    assert "| gru_reset | 256 | 300,000 | 600,000 | " in text
    assert "| +0.043 (+0.023 to +0.064) | 0.003 |" in text


def test_markdown_tells_of_the_search(built):
    text = built.markdown()
    assert "| lstm | 100 % |" in text[text.index("PED-ANOVA") :]
    assert (
        "- learning_rate, searched from 0.001 to 1 (a factor of 1,000): the finished trials within"
        " 5 %" in text
    )
    assert (
        "| Arm | Trials finished | Trials diverged | Trials pruned | Replicates finished |" in text
    )
    assert "| lstm | 7 | 1 | 1 | 10 |" in text


def test_markdown_in_a_folder_shows_its_figures(built):
    shown = re.findall(r"!\[([^\]]+)\]\(figures/(.+?)\.svg\)", built.markdown("figures"))
    assert [stem for _, stem in shown] == list(built.figures)
    assert "![" not in built.markdown()


def test_note_is_short(built):
    assert re.findall(r"(?m)^\| (\w+)&emsp; .*\n\| ---", built.note()) == ["Arm"]
    assert built.note().startswith(
        "**Compared with lstm in test perplexity, lstm-no-output-tanh is worse, gru_reset is better"
    )
    assert len(built.note()) < 4000 < len(built.markdown())


def test_a_table_that_a_narrow_page_would_break_is_a_list():
    header = ("Arm", "Verdict", "p (Holm)")
    short = Section("", header, [("gru", "worse", "0.01"), ("lstm", "baseline", "")])
    assert forms.narrow_markdown(short).splitlines() == [
        "| Arm&emsp; | Verdict&emsp; | p (Holm)&emsp; |",
        "| --- | --- | --- |",
        "| gru&emsp; | worse&emsp; | 0.01&emsp; |",
        "| lstm&emsp; | baseline&emsp; | &emsp; |",
    ]
    name = "lstm-" + "x" * forms.NARROW
    long = Section("", header, [(name, "worse", "0.01"), ("a|b", "baseline", "")], "Said below.")
    assert forms.narrow_markdown(long).splitlines() == [
        f"- **{name}** · Verdict: worse · p (Holm): 0.01",
        r"- **a\|b** · Verdict: baseline",
        "",
        "Said below.",
    ]


def test_note_of_several_conditions():
    tables = re.findall(r"(?m)^\| Arm&emsp; (.*)\n\| ---", two_conditions().note())
    assert len(tables) == 3 and tables[0] == "| time-machine&emsp; | docs&emsp; |"


def test_csv_reads_back(built):
    rows = list(csv.DictReader(io.StringIO(built.csv())))
    assert [(row["condition"], row["arm"]) for row in rows] == [
        ("", result.name) for result in built.results
    ]
    assert float(rows[1]["ratio"]) == pytest.approx(np.exp(0.03))
    assert rows[1]["pairs"] == "10" and rows[0]["pairs"] == ""
    assert float(rows[3]["train_pack_8_speed"]) == pytest.approx(1.3, rel=0.01)
    assert rows[2]["params"] == '{"learning_rate": 0.5}'


def test_latex_escapes_what_it_must():
    section = Section("Costs", ("Arm", "Share"), [("a_b & c", "5 %"), (r"\x^~#$|{}", "< 0.001")])
    text = forms.latex(section, "100 % of <b>")
    assert text == (
        "\\begin{table}\n\\centering\n\\caption{100 \\% of \\textless{}b\\textgreater{}}\n"
        "\\begin{tabular}{lr}\n\\toprule\nArm & Share \\\\\n\\midrule\na\\_b \\& c & 5 \\% \\\\\n"
        "\\textbackslash{}x\\textasciicircum{}\\textasciitilde{}\\#\\$\\textbar{}\\{\\} &"
        " \\textless{} 0.001 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_latex_is_balanced(built):
    text = built.latex()
    assert text.startswith("% \\usepackage{booktabs}\n")
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"] * text.count("\\toprule")
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}", "", text)
    assert bare.count("{") == bare.count("}")
    for table in re.findall(r"\\toprule\n(.*?)\\bottomrule", bare, flags=re.DOTALL):
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len({row.count("&") for row in rows}) == 1
        assert not set("<>|_#$^~") & set(table)


def test_numbers_are_set_to_the_right():
    rows = [
        ("lstm", "4.7 (4.6 to 4.8)", "< 0.001", "12: 7 finished", "none", "+0.1"),
        ("gru", "5", "", "3: 3", "1", "-2"),
    ]
    section = Section("x", ("Arm", "a", "p", "ends", "best", "d"), rows)
    assert section.are_numbers == (False, True, True, False, False, True)
    assert forms.markdown(section).splitlines()[1] == "| --- | ---: | ---: | --- | --- | ---: |"


def test_every_form_is_written(tmp_path):
    built = two_conditions()
    paths = built.write(tmp_path / "new" / "folder")
    names = [path.relative_to(tmp_path / "new" / "folder").as_posix() for path in paths]
    assert names[:4] == ["report.html", "report.md", "report.csv", "report.tex"]
    assert names[4:] == [
        f"figures/{stem}.{kind}" for stem in built.figures for kind in ("svg", "png")
    ]
    assert {"time-machine-speeds", "docs-speeds", "docs-learning-curves-seconds"} <= set(
        built.figures
    )
    for path in paths:
        content = path.read_bytes()
        assert path.suffix != ".png" or content.startswith(b"\x89PNG")
        assert path.suffix != ".svg" or content.startswith(b"<?xml")
    for linked in re.findall(
        r"\]\((figures/.+?)\)", (tmp_path / "new" / "folder" / "report.md").read_text()
    ):
        assert linked in names


def test_a_study_whose_every_replicate_failed_says_so():
    rows = [r for n in ("lstm", "gru") for r in run_rows(n, [np.nan] * 10, states=["failed"] * 10)]
    built = build(study("lstm", "gru"), rows)
    assert built.answer == "No replicate of output-tanh has ended but by failing."


def test_nothing_has_run():
    built = build(study("lstm", "gru"))
    assert built.answer == "No replicate of output-tanh has ended yet."
    assert len(built.missing) == 2 and built.figures == {}
    for text in (
        built.markdown(),
        built.html(),
        built.csv(),
        built.note(),
        built.latex(),
        printed(built),
    ):
        assert "gru" in text


def test_commands_name_the_commit_the_path_and_the_overrides(built, tmp_path, monkeypatch):
    assert built.commands == [  # no file of the study is known
        "# with the harness at commit c0ffee",
        "# with the study file, which stands below, as output-tanh.yaml",
        "harness run output-tanh.yaml --set fix.bptt_length=20 --folder again",
    ]
    mine = study("lstm", path=tmp_path / "my study.yaml")
    below = "# with the study file, which stands below, as output-tanh.yaml"
    assert build(mine).commands == [below, "harness run output-tanh.yaml --folder again"]  # gone
    mine.path.touch()
    assert build(mine).commands == [f"harness run '{mine.path}' --folder again"]
    monkeypatch.chdir(tmp_path)
    assert build(mine).commands == ["harness run 'my study.yaml' --folder again"]
    shipped = study("lstm", path=Path(harness.__file__).parents[1] / "studies" / "quickstart.yaml")
    assert build(shipped, run_rows("lstm", BASE, git_commit="c0ffee")).commands == [
        "git checkout c0ffee",
        "harness run studies/quickstart.yaml --folder again",
    ]


def test_a_wide_table_breaks_words_last_of_all():
    header = ("Arm", "Hidden size", "FLOPs per token", "Training seconds (alone)", "Tokens spent")
    rows = [("lstm-no-output-tanh", "256", "600,000", "179.3", "20,000,045")] * 2
    console = Console(width=60, file=io.StringIO())
    console.print(forms.terminal_section(Section("Costs", header, rows), console.width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert "lstm-no-output-tanh     256  600,000     179.3  20,000,045" in lines
    narrow = Console(width=30, file=io.StringIO())
    narrow.print(forms.terminal_section(Section("Costs", header, rows), narrow.width))
    lines = narrow.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 30 and not any("…" in line for line in lines)
    half = Console(width=52, file=io.StringIO())
    half.print(forms.terminal_section(Section("Costs", header, rows), half.width))
    lines = half.file.getvalue().splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("lstm"))
    folds = [line.split(" ")[0] for line in lines[first : first + 2]]
    assert folds == ["lstm-no-", "output-tanh"], lines


def test_a_bound_stays_with_its_number():
    rows = [("many words of an effect that fold", "0.778 (0.736 to 0.822)", "< 0.001")] * 2
    console = Console(width=40, file=io.StringIO())
    section = Section("Effects", ("Effect", "Ratio (95 %)", "p (Holm)"), rows)
    console.print(forms.terminal_section(section, console.width))
    assert console.file.getvalue().count("< 0.001") == 2, console.file.getvalue()


def test_a_question_is_prose_in_markdown():
    assert forms.prose("# Is *it*\n| [this](http://x) `or` <b>?") == (
        "\\# Is \\*it\\* \\| \\[this\\](http://x) \\`or\\` &lt;b>?"
    )
    assert (
        forms.prose("> 50 $x$, ~~y~~ &lt; z & 1.5")
        == "\\> 50 \\$x\\$, \\~\\~y\\~\\~ \\&lt; z & 1.5"
    )
    assert forms.prose("1. a") == "1\\. a"
