"""Ctrl-C at each line of some files in turn, where Python itself may act on a signal."""

import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count


class Striker:
    """Sends this process SIGINT before one line of some files, unless it would end it at once.

    Attributes:
        where: The file's name and the line that was struck; None where none was.
    """

    def __init__(self, files, num_lines_before):
        self._files, self._left = files, num_lines_before
        self.where = None

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line" and self.where is None:
            self._left -= 1
            if self._left < 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
                    signal.raise_signal(signal.SIGINT)
        return self


def strikes(files, function: Callable[[], object]) -> Iterator[tuple[str, object]]:
    """Calls a function again and again, struck at another line each time, until it has no more.

    Yields where it was struck, and what it raised.
    """
    for num_lines_before in count():
        striker, raised = Striker(files, num_lines_before), None
        sys.settrace(striker)
        try:
            function()
        except BaseException as error:
            raised = error
        finally:
            sys.settrace(None)
        if striker.where is None:
            return
        yield striker.where, raised
