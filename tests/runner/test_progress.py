import errno
import io
import os
import re
import signal
import sys
import threading
import types

import pytest
from rich.console import Console

from harness import study
from harness.runner import progress
from harness.runner.remaining import remaining_updates
from harness.study.units import Phase, RunKey, Unit

TITLE = "8 trials of 2 arms"
LATEST = "lstm-no-output-tanh/trial/0 perplexity 8.214, 12,345 tokens/s a run"


@pytest.fixture
def now(monkeypatch):
    """The clock, in seconds."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    return clock


class Interrupted(Console):
    """A console within whose first line Ctrl-C is pressed."""

    is_pressed = False

    def __enter__(self):
        entered = super().__enter__()
        if not self.is_pressed:
            self.is_pressed = True
            signal.raise_signal(signal.SIGINT)
        return entered


def test_ctrl_c_within_a_line_hides_none_that_follow():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = io.StringIO()
    display = progress.Display(Interrupted(file=out, width=80))
    with pytest.raises(KeyboardInterrupt):
        display.say("first")
    display.say("second")
    assert out.getvalue() == "first\nsecond\n"


def test_ctrl_c_while_a_bar_is_drawn_first_leaves_the_terminal_its_cursor():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = io.StringIO()
    display = progress.Display(Interrupted(file=out, width=80, force_terminal=True))
    with pytest.raises(KeyboardInterrupt), display.stage(TITLE, 800):
        pytest.fail("it goes on")
    shown, _, after = out.getvalue().rpartition("\x1b[?25h")
    assert "\x1b[?25l" in shown and "\x1b[?25l" not in after


def test_a_study_outlives_its_terminal(now, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    before = threading.active_count()
    terminal, end = os.openpty()
    file = open(end, "w")  # noqa: SIM115
    try:
        display = progress.Display(Console(file=file))
        display.begin(TITLE, 800)
        assert threading.active_count() == before  # none draws, and meets the end, by itself
        os.close(terminal)
        now[0] = 1.0
        display.advance(100, LATEST)
        display.end()
        display.say("a line")
        display.begin("runtime", 7, what="timings")
        display.end()
        assert display.console.quiet
    finally:
        file.close()


def test_a_file_that_takes_no_more_is_no_closed_terminal():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError):
        progress.Display(Console(file=Full())).say("a line")


def test_without_a_terminal_a_stage_is_plain_lines(now):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=80))
    display.begin(TITLE, 800)
    display.advance(100, "lstm/trial/0 perplexity 9.1")  # too soon for a line
    now[0] = 30.0
    display.advance(100, "lstm/trial/0 perplexity 8.2")
    display.begin("runtime", 7, what="timings")
    assert out.getvalue().splitlines() == [
        "8 trials of 2 arms: 800 updates",
        "  8 trials of 2 arms: 200 of 800, 1 min 30 s left; lstm/trial/0 perplexity 8.2",
        "runtime: 7 timings",
    ]


def test_the_count_is_that_of_the_whole_study_and_goes_on_from_stage_to_stage(now):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=80))
    display.begin("trials", 800, remaining=2000)
    now[0] = 30.0
    display.advance(600, "a", arm="lstm", loss=2.197, level="9.000")
    display.end()  # 200 updates of pruned trials never run
    display.begin("replicates", 1200, remaining=1200)
    now[0] = 60.0
    display.advance(600, "b", arm="gru", loss=2.251, level="9.500")
    display.end()
    assert out.getvalue().splitlines() == [
        "trials: 800 updates, 2,000 in the study",
        "  trials: 600 of 2,000, 1 min 10 s left; best 9.000 lstm; a",
        "replicates: 1,200 updates, 1,800 in the study",
        "  replicates: 1,200 of 1,800, 30 s left; best 9.000 lstm; b",
    ]


def test_the_best_is_that_of_the_condition_and_never_nan(now):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=80))
    display.begin("trials", 800)
    now[0] = 30.0
    display.advance(1, "", arm="lstm", condition="book", loss=float("nan"))
    display.advance(1, "", arm="lstm", condition="book", loss=1.609, level="5.000")
    now[0] = 60.0
    display.advance(1, "x", arm="gru", condition="notes", loss=1.946, level="7.000")
    assert out.getvalue().rstrip().endswith("best 7.000 gru; x")


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_the_text_is_shortened_and_nothing_else(width, now):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=width, force_terminal=True))
    display.begin("12 replicates of 9 arms", 40_000, remaining=54_321)
    now[0] = 7200.0
    display.advance(12_345, LATEST, arm="lstm-no-output-tanh", loss=2.106, level="8.214")
    display.end()
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue())
    line = [each for each in re.split(r"[\r\n]+", shown) if "left" in each][-1]
    assert len(line) <= width
    assert "12 replicates of 9 arms" in line
    assert "12345/54321" in line and "6 h 48 min left" in line
    assert "best 8" in line and "…" in line


def test_a_stage_with_a_count_of_its_own_shows_that(now):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=80, force_terminal=True))
    display.begin("trials", 100, remaining=300)
    display.advance(100, "")
    display.end()
    display.begin("runtime", 28)
    display.advance(7, "lstm, train, pack 1: 5 tokens/s")
    display.end()
    assert "7/28" in out.getvalue()


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook was asked to show: a list of the contents of every output that changes."""
    shown = []

    class Handle:
        def update(self, content, raw):
            shown[-1].append(content)

    def show(content, raw, display_id):
        assert raw and display_id
        shown.append([])
        return Handle()

    module = types.ModuleType("IPython.display")
    module.display = show
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_in_a_notebook_one_line_changes_from_stage_to_stage(now, notebook):
    out = io.StringIO()
    display = progress.Display(Console(file=out, force_jupyter=True))
    display.begin(TITLE, 800)
    for second in range(10):
        now[0] = second * 0.2
        display.advance(10, "x < y")
    display.end()
    lines = [content["text/plain"] for content in notebook[0]]
    assert len(lines) == 1 + 3 + 1  # at the beginning, twice a second, at the end
    assert lines[-1] == "8 trials of 2 arms: 100 of 800, 13 s left; x < y"
    assert notebook[0][-1]["text/html"].endswith(
        '<progress value="0.1250"></progress> '
        "8 trials of 2 arms: 100 of 800, 13 s left; x &lt; y</div>"
    )
    display.begin("runtime", 7)
    display.advance(7, "z")
    display.end()
    assert len(notebook) == 1 and notebook[0][-1]["text/plain"] == "runtime: 7 of 7; z"
    assert out.getvalue() == ""


@pytest.mark.parametrize(("given", "width"), [(None, 80), ("110", 110)])
def test_what_is_printed_in_a_notebook_fits_a_narrow_cell(monkeypatch, given, width):
    monkeypatch.delenv("JUPYTER_COLUMNS", raising=False)
    if given:
        monkeypatch.setenv("JUPYTER_COLUMNS", given)
    monkeypatch.setattr(progress, "Console", lambda: Console(force_jupyter=True))
    console, printed = progress.screen(), []
    monkeypatch.setattr(console, "print", lambda *line, **options: printed.append(options))
    progress.Display(console).say("a line")
    assert console.width == width and not printed[0]["soft_wrap"]


def test_what_remains_is_what_the_study_says_less_what_has_ended():
    loaded = study.loads(
        "study: s\nversion: 2\nquestion: q?\n"
        "compare: {cross: {cell: [lstm, gru]}, baseline: {cell: lstm}}\n"
        "tune: {learning_rate: {low: 0.1, high: 1}, trials: 4, batch: 2, finalists: 2}\n"
        "fix: {corpus: time-machine, hidden_size: 8}\nreplicate: {seeds: 6}\n"
    )
    lstm, gru = loaded.units
    finalists = 2 * loaded.tune.finalist_seeds
    ended = [RunKey(lstm, Phase.TRIAL, number) for number in range(4)]

    def remaining(planned):
        return remaining_updates(
            loaded, [lstm, gru], ended, planned, lambda unit: 10 if unit == lstm else 100
        )

    assert remaining([]) == 10 * (finalists + 6) + 100 * (4 + finalists + 6)
    more = [RunKey(Unit("lstm"), Phase.TRIAL, number) for number in (4, 5)]  # an extended search
    assert remaining(more) == remaining([]) + 20


def test_a_line_is_printed_as_it_is():
    out = io.StringIO()
    progress.Display(Console(file=out, width=40)).say(
        "[lstm] a line that is longer than forty characters in all"
    )
    assert out.getvalue() == "[lstm] a line that is longer than forty characters in all\n"
