"""An end that waits for no thread which does not come back, wherever a signal struck before."""

import _thread
import gc
import linecache
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import thread
from itertools import count
from queue import SimpleQueue

import pytest

from harness.engine import beside, ending
from harness.engine.ending import leave
from harness.training import threads
from harness.training.threads import Threads

FILES = (threads.__file__, thread.__file__)


class Interrupter:
    """Raises KeyboardInterrupt at one line of what gives work to a thread, as a signal may.

    None acts between a ``with`` and what it takes or gives back.
    """

    def __init__(self, line: int):
        self.lines_left = line
        self.has_struck = False

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith("with "):
            self.lines_left -= 1
            if self.lines_left < 0 and not self.has_struck:
                self.has_struck = True
                raise KeyboardInterrupt
        return self


@pytest.fixture
def left(monkeypatch):
    """Has a command's end note its exit code and go on."""
    codes = []
    monkeypatch.setattr(ending, "end_at_once", codes.append)
    monkeypatch.setattr(threads, "END_SECONDS", 0.05)
    return codes


def turned(pool, work):
    return pool.each(work, [1])


def taken(pool, work):
    pool.submit(work)
    return beside.taken(SimpleQueue())


@pytest.mark.parametrize("waits", [turned, taken])
def test_a_signal_that_comes_just_before_a_wait_is_heard_soon(waits):
    """It wakes nobody who then begins to wait, as one does not that is only noted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool, released, in_time = Threads(1, int), threading.Event(), []

    def work(*_):
        time.sleep(0.2)  # the main thread waits by then, or nothing is seen here
        _thread.interrupt_main()
        in_time.append(released.wait(60))

    with pytest.raises(KeyboardInterrupt):
        waits(pool, work)
    released.set()
    pool.shutdown()
    assert in_time == [True]


def test_what_was_raised_holds_no_memory():
    """It is let go of without a search for cycles, which the bench makes seldom."""
    pool, held = Threads(2, int), weakref.WeakSet()

    class Shard:
        pass

    def fails(number):
        shard = Shard()
        held.add(shard)
        raise MemoryError(number)

    def numbers():
        try:
            pool.each(fails, [1, 2])
        except MemoryError as error:
            return error.args

    gc.disable()
    try:
        assert numbers() == (1,)
        pool.shutdown()
        assert not held
    finally:
        gc.enable()


def work(begun, released):
    begun.set()
    released.wait()


@pytest.mark.parametrize("has_worked", [False, True], ids=["new threads", "threads at rest"])
def test_wherever_work_is_interrupted_on_its_way_to_a_thread_the_end_is_soon(left, has_worked):
    num_begun = 0
    for line in count():
        begun, released = threading.Event(), threading.Event()
        pool = Threads(1, int)
        if has_worked:
            pool.submit(int).result()
        interrupter = Interrupter(line)
        sys.settrace(interrupter)
        try:
            pool.submit(work, begun, released)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        has_begun = begun.wait(0.05)
        num_begun += has_begun
        watchdog = threading.Timer(300, released.set)
        watchdog.start()
        left.clear()
        pool.end()
        is_soon = not released.is_set()
        leave(130)
        watchdog.cancel()
        released.set()
        assert is_soon, f"line {line}"
        assert left == [130] or not has_begun, f"line {line}"
        if not interrupter.has_struck:
            break
    assert num_begun > 1 and line > 5
