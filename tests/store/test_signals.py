import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import pytest
from striking import strikes

from harness.runner.scheduler import Scheduler
from harness.store import signals
from harness.store.signals import SECOND_SECONDS, check, handled, held


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """A process that a shell started in the background ignores SIGINT and SIGQUIT."""
    for number in signals.SIGNALS:
        is_int = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)


class EndedAtOnce(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def clock(monkeypatch):
    """The time as signals are told it; a second one ends no process."""

    def ended(code):
        raise EndedAtOnce(code)

    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_an_interruption_waits_for_the_end_of_the_block():
    said = []
    with pytest.raises(KeyboardInterrupt):
        with held():
            interrupt()
            with held():
                interrupt()
                said.append("inner")
            said.append("outer")
    assert said == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_it_takes_the_place_of_an_error_that_it_may_have_caused():
    with pytest.raises(KeyboardInterrupt), held():
        interrupt()
        raise ValueError("cursor closed")


def test_without_one_errors_and_handlers_are_as_they_were():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="as it is"), held():
        raise ValueError("as it is")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_wait_in_the_block_can_be_left_at_once():
    said = []
    check()
    with pytest.raises(KeyboardInterrupt), held():
        check()
        interrupt()
        said.append("noted")
        check()
        said.append("never")
    assert said == ["noted"]


def test_wherever_one_strikes_a_block_it_is_raised_and_handlers_are_as_they_were():
    """In a program that handles none itself, such as a notebook."""
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    work = []

    def block():
        with held():
            work.append("begun")
            work.append("ended")

    num_whole = 0
    for where, raised in strikes((signals.__file__, contextlib.__file__, __file__), block):
        assert isinstance(raised, KeyboardInterrupt), where
        assert work in ([], ["begun", "ended"]), where
        assert [signal.getsignal(number) for number in signals.SIGNALS] == before, where
        num_whole += bool(work)
        work.clear()
        raised.__traceback__ = None
    assert num_whole > 20


def test_other_threads_need_none():
    seen = []

    def work():
        with held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("is_first_held", [False, True])
def test_a_second_one_ends_the_clean_up_of_the_first(is_first_held, clock, capfd):
    """The first interrupts training or a record; blocks follow in which the stores are closed."""
    with pytest.raises(EndedAtOnce, match=str(128 + signal.SIGTERM)), handled():
        try:
            with held() if is_first_held else nullcontext():
                interrupt()
        except KeyboardInterrupt:
            clock.now += SECOND_SECONDS - 0.01
            interrupt()  # as make sends it on: no second one
            with held():
                interrupt()
            clock.now += 0.02
            with held():
                signal.raise_signal(signal.SIGTERM)
                pytest.fail("it goes on")
    assert capfd.readouterr().err == signals.ENDED.decode()


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_that_is_closed_interrupts_and_is_no_second_one(first, clock):
    """A shell sends on what it gets, and it may get it late."""
    with pytest.raises(EndedAtOnce), handled():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(first)
            pytest.fail("it goes on")
        clock.now += SECOND_SECONDS
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGQUIT)
        pytest.fail("it goes on")


def test_a_second_one_counts_after_the_end_and_a_first_ends_the_process_there(clock):
    with handled():
        pass
    assert {signal.getsignal(number) for number in signals.SIGNALS} == {signal.SIG_DFL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), handled():
        interrupt()
    clock.now += SECOND_SECONDS
    with pytest.raises(EndedAtOnce):
        interrupt()


def test_one_that_a_library_swallowed_is_raised_again(clock):
    with handled():
        with suppress(KeyboardInterrupt):
            interrupt()
        with pytest.raises(KeyboardInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt), held():
            check()
        with pytest.raises(KeyboardInterrupt):  # nothing is recorded after it
            Scheduler.record(object.__new__(Scheduler), [])


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with handled(), held():
        interrupt()
        check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


PROGRAM = """
import os, signal, sys, time
from types import SimpleNamespace
from harness.store import signals
# By this clock no time goes by until there is the file.
signals.time = SimpleNamespace(monotonic=lambda: 1000.0 * os.path.exists(sys.argv[1]))
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGWINCH, lambda *_: print("heard", flush=True))
with signals.held():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_a_block_that_does_not_end(second, tmp_path):
    later = tmp_path / "later"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, later],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # as make sends it on: no second one
        process.send_signal(signal.SIGWINCH)  # of several that wait the lowest number acts first
        assert process.stdout.readline() == "heard\n"
        assert process.poll() is None
        later.touch()
        process.send_signal(second)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + second
    assert said == (
        "interrupted twice: ended at once; the same command goes on from what is stored\n"
    )


BAR = """
import os, signal, time
from rich.console import Console
from harness.runner.progress import Display
from harness.store.signals import handled
signal.signal(signal.SIGINT, signal.default_int_handler)
with handled():
    display = Display(Console())
    display.begin("2 trials of 1 arm", 10, 10)
    try:
        display.say("a line")
        os.write(1, b"begun")  # a console that is interrupted within a line keeps the next ones
        time.sleep(600)
    except KeyboardInterrupt:
        display.console.print("cleaning up")
        time.sleep(600)
"""


def read_until(terminal, words, seconds=300.0):
    """Returns what a program wrote into its terminal, up to some words or to its end."""
    said, end = b"", time.monotonic() + seconds
    while words not in said:
        if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            pytest.fail(f"{words!r} does not come, but {said!r}")
        try:
            said += os.read(terminal, 4096)
        except OSError:  # nobody holds its other end
            break
    return said


def test_a_second_one_leaves_the_terminal_its_cursor(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = os.openpty()
    with subprocess.Popen([sys.executable, "-c", BAR], stdin=end, stdout=end, stderr=end) as bar:
        try:
            os.close(end)
            begun = read_until(terminal, b"begun")
            assert b"\x1b[?25l" in begun and b"\x1b[?25h" not in begun
            bar.send_signal(signal.SIGINT)
            read_until(terminal, b"cleaning up")
            time.sleep(SECOND_SECONDS + 0.1)
            bar.send_signal(signal.SIGINT)
            said = read_until(terminal, b"no such words")
            assert bar.wait(timeout=300) == 128 + signal.SIGINT
        finally:
            bar.kill()
    os.close(terminal)
    shown, _, after = said.rpartition(b"\x1b[?25h")
    assert b"\x1b[?25l" not in after and after.strip() == signals.ENDED.strip()
    assert shown.endswith(b"\r\r\n")  # the message has a line of its own
