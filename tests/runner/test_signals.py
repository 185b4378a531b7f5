import signal
import subprocess
import sys
import threading
import time

import pytest

from harness.runner.signals import SECOND_SECONDS, check, held


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """A process that a shell started in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


PROGRAM = """
import signal, sys, time
from harness.runner.signals import held
signal.signal(signal.SIGINT, signal.default_int_handler)
with held():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_a_block_that_does_not_end(second):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # as make sends it on: no second one
        time.sleep(SECOND_SECONDS + 0.2)
        assert process.poll() is None
        process.send_signal(second)
        said = process.communicate(timeout=2)[1]
    assert process.returncode == 128 + second
    assert said == (
        "interrupted twice: ended at once; the same command goes on from what is stored\n"
    )
