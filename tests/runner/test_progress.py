import io

from rich.console import Console

from harness.runner import progress


def test_without_a_terminal_a_stage_is_plain_lines(monkeypatch):
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=80))
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display.begin("8 trials of 2 arms", 800)
    display.advance(100, "lstm/trial/0 perplexity 9.1")  # too soon for a line
    now[0] = 30.0
    display.advance(100, "lstm/trial/0 perplexity 8.2")
    display.end()
    lines = out.getvalue().splitlines()
    assert lines == [
        "8 trials of 2 arms: 800 updates",
        "  8 trials of 2 arms: 200 of 800, 90 s left; lstm/trial/0 perplexity 8.2",
    ]


def test_on_a_terminal_a_bar_shows_where_the_run_stands():
    out = io.StringIO()
    display = progress.Display(Console(file=out, width=120, force_terminal=True))
    display.begin("6 replicates of 2 arms", 60)
    display.advance(30, "gru/replicate/1 perplexity 7.0")
    display.end()
    assert "30/60" in out.getvalue() and "gru/replicate/1" in out.getvalue()


def test_a_line_is_printed_as_it_is():
    out = io.StringIO()
    progress.Display(Console(file=out, width=40)).say(
        "[lstm] a line that is longer than forty characters in all"
    )
    assert out.getvalue() == "[lstm] a line that is longer than forty characters in all\n"
