"""One thread that does what it is given, in order, for a store that may not answer.

The driver hands operations over and goes on. A store that another process holds, or that is away,
is asked again until it answers: meanwhile operations wait in memory, and soon in a file too
(:mod:`harness.store.spool`), which the next launch reads first where this one ended.

An operation may be done twice, and must store the same then: one that was being done when a process
died is in the file still.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from harness.store import patience, signals
from harness.store.advisory_lock import LockedError
from harness.store.operations import Doer, Operation
from harness.store.patience import Check, Say, is_lasting
from harness.store.spool import MAX_BYTES, Spool

FLUSH_SECONDS = 3.0
"""How long an operation waits for others that are written with it, unless it is urgent."""
PER_BATCH = 64
"""Operations that are taken off the queue together once all of them are stored."""
BATCH_BYTES = 16 * 2**20
"""About how much of the file is read at once: a run's model may be as large alone."""
MAX_WAITING_BYTES = 64 * 2**20
"""About how much memory operations may take; above it they go to the file."""
CLOSE_SECONDS = 3.0
"""How long an end waits for the store before what is left goes to the file."""
LAST_SECONDS = 30.0
"""How long it waits on for a store that works, where the file cannot be written."""


class Handover:
    """The queue between a driver and the thread that writes for it.

    Whatever the thread could not do is raised by the driver's next call, and nothing is done after.

    Attributes:
        wait_seconds: Wall seconds for which the driver waited.
        busy_seconds: Wall seconds for which the thread worked.
        is_left: Whether the file holds what the store has not taken when this object was closed.
    """

    def __init__(
        self,
        doers: Mapping[str, Doer],
        flush: Callable[[], None],
        find_made: Callable[[], None],
        forget: Callable[[], None],
        spool: Spool,
        say: Say,
        check: Check,
        place: str,
    ) -> None:
        """Starts nothing yet.

        Args:
            doers: The operations by their names.
            flush: Called when operations that may be written together have been done.
            find_made: Called before an operation is tried again: it may have been done although
                the store did not say so.
            forget: Called when operations that the store refused are passed over: none of what was
                to be written for them may be written with others.
            spool: Where operations wait on disk.
            say: Told what a person should know, by the driver's thread alone.
            check: Called while the driver waits; raises where a person wants to end.
            place: What is written, for an error that names no file.
        """
        self._place = place
        self.wait_seconds = self.busy_seconds = 0.0
        self._doers, self._flush = doers, flush
        self._find_made, self._forget = find_made, forget
        self._spool, self._say, self._check = spool, say, check
        self._is_spooling = self._is_told = self._is_ending = self.is_left = False
        self._is_wanted = self._is_closing = False
        self._waiting: deque[Operation] = deque()
        self._waiting_bytes = 0
        self._last: deque[Operation] = deque()  # what follows all that is in the file
        self._asked_since: float | None = None
        self._slowness = 1  # a store that was told to be slow is told again when it is slower
        self._why = ""
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    # The driver's side

    @signals.held()
    def put(self, name: str, arguments: dict[str, Any]) -> None:
        """Hands an operation over."""
        self._look()
        while self._spool.num_bytes > MAX_BYTES:
            patience.pause(patience.PAUSE_SECONDS, self._check)
            self._look()
        self._add(Operation(name, arguments))

    @signals.held()
    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what a function returns, which the thread calls when all before it is stored."""
        operation = Operation("call", function=function)
        self._add(operation)
        begun = time.perf_counter()
        try:
            while not operation.done.wait(patience.PAUSE_SECONDS):
                self._check()
                self._look(is_awaited=True)
        finally:
            self.wait_seconds += time.perf_counter() - begun
        self._look()
        result, operation.result = operation.result, None  # the thread holds what it did last
        return result

    def resume(self) -> None:
        """Writes what an earlier launch could not; it is over when this returns.

        Records that the store refuses are passed over: every later launch would end by them.
        """
        why = self._spool.resume()
        if why is not None:
            self._say(f"{self._spool.path}: not used, {why}; its runs are trained again", "yellow")
        if not self._spool.num_unread:
            self._spool.close(keep=False)
            return
        self._say(f"{self._spool.num_unread} records of an earlier launch are stored first", None)
        self._is_spooling = True
        try:
            with self._changed:
                self._refill()
            self.call(lambda: None)
        except Exception as error:
            is_of_records = not isinstance(error, LockedError | MemoryError)
            if not is_of_records or is_lasting(error) or patience.is_refusal(error):
                raise
            self._pass_over(error)

    def _pass_over(self, error: Exception) -> None:
        """Puts the file aside, and begins anew with what is stored."""
        self._is_spooling, self._error, self._thread = False, None, None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._last.clear()
        kept = self._spool.put_aside()
        self._say(
            f"{self._spool.path}: not used, the store refuses a record of it "
            f"({type(error).__name__}: {patience.reason(error)}); it is kept as {kept}; its runs "
            "are trained again",
            "yellow",
        )
        self._forget()
        self.call(self._find_made)

    def close(self) -> bool:
        """Ends the thread; what the store has not taken goes to the file.

        So it does where the store lacks room or a right: the file may lie on another disk, or fit
        into what is left. Where the file cannot be written, the store alone can take what is left.
        Who holds the study no more leaves its file alone.

        Returns:
            Whether the thread has ended. One that still waits for the store uses its connections,
            and whoever closed them would end the process by a signal.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        lacking = self._end_after(CLOSE_SECONDS)
        if lacking is not None and self._is_alive() and not self._why:  # it is slow
            self._say(
                f"{lacking.strerror}: {self._spool.path}; what the store has not taken cannot wait "
                f"there, so the launch waits for the store, {LAST_SECONDS:.0f} s at most",
                "yellow",
            )
            lacking = self._end_after(LAST_SECONDS)
        if lacking is not None:  # it must not hide why the launch ends
            with self._changed:
                self._is_ending = True
                self._changed.notify_all()
                num_lost = sum(map(self._is_kept, self._waiting))
            self._say(
                f"{lacking.strerror}: {self._spool.path}; the {num_lost} records that the store "
                "has not taken are lost, and their runs are trained again",
                "yellow",
            )
        if self._thread is not None:
            self._thread.join(0.0 if self.is_left else CLOSE_SECONDS)
        if self.is_left:
            why = f"the store does not answer ({self._why or 'it is busy'}): "
            self._say(
                f"{why if self._error is None else ''}what the store has not taken waits in "
                f"{self._spool.path}, which the same command reads first",
                "yellow",
            )
        is_of_earlier = self._error is not None and self._is_spooling
        self._spool.close(keep=self.is_left or is_of_earlier)
        return not self._is_alive()

    def _end_after(self, seconds: float) -> OSError | None:
        """Ends once all is stored, or so late and with what is left in the file.

        Returns why that cannot be written, without an end.
        """
        end = time.monotonic() + seconds
        while self._is_alive() and self._has_work() and time.monotonic() < end:
            time.sleep(patience.PAUSE_SECONDS)
        with self._changed:
            lasts = self._error is None or is_lasting(self._error)
            try:
                if self._has_records() and lasts:
                    self._begin_spool()
                    self.is_left = True
            except OSError as error:
                return error
            self._is_ending = True
            self._changed.notify_all()
        return None

    def _add(self, operation: Operation) -> None:
        with self._changed:
            if self._error is not None:
                raise self._error
            if not self._is_spooling:
                self._waiting.append(operation)
                self._waiting_bytes += operation.num_bytes
            elif operation.function is not None:
                self._last.append(operation)
            elif self._is_kept(operation):
                self._spool.append([(operation.name, operation.arguments)], are_known=False)
            self._is_wanted |= self._is_urgent(operation)
            if not self._is_alive():
                self._thread = threading.Thread(target=self._work, name="records", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _look(self, *, is_awaited: bool = False) -> None:
        """Tells a person that the store does not answer, and has the records wait in the file.

        Args:
            is_awaited: Whether the driver waits for the store, so that nothing trains.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            since = self._asked_since
            waited = 0.0 if since is None else time.monotonic() - since
            is_late = waited >= patience.NOTICE_SECONDS
            if is_late or self._waiting_bytes > MAX_WAITING_BYTES:
                self._begin_spool()
            has_records = self._has_records()
            is_over = self._is_told and not self._has_work()
        is_told_now = is_late and (self._why or waited >= self._slowness * patience.NOTICE_SECONDS)
        if is_told_now and not self._is_told and since is not None:
            self._is_told = True
            why = f" ({self._why})" if self._why else ""
            self._slowness *= 1 if self._why else 2
            goes_on = "the launch waits for it, Ctrl-C ends" if is_awaited else "training goes on"
            records = f", records wait in {self._spool.path}" if has_records else ""
            self._say(
                f"MLflow's store does not answer since {patience.clock(since)}{why}; {goes_on}"
                f"{records}",
                "yellow",
            )
        elif is_over:
            self._is_told = False
            self._say("MLflow's store answers again, all records are stored", None)

    def _begin_spool(self) -> None:
        if self._is_spooling:
            return
        records = [each for each in self._waiting if self._is_kept(each)]
        self._spool.append([(each.name, each.arguments) for each in records], are_known=True)
        self._is_spooling = True

    def _is_kept(self, operation: Operation) -> bool:
        return operation.function is None and self._doers[operation.name].is_kept

    def _is_urgent(self, operation: Operation) -> bool:
        return operation.function is not None or self._doers[operation.name].is_urgent

    def _has_work(self) -> bool:
        return bool(self._waiting or self._last or self._spool.num_unread)

    def _has_records(self) -> bool:
        """Returns whether anything waits that a later launch would not make anew."""
        return bool(self._spool.num_unread) or any(map(self._is_kept, self._waiting))

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    # The thread

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                begun = time.perf_counter()
                try:
                    for operation in batch:
                        self._patiently(self._do, operation)
                    self._patiently(self._flush)
                finally:
                    self.busy_seconds += time.perf_counter() - begun
                self._finish(batch)
        except _Ended:
            pass
        except BaseException as error:  # the driver raises it
            left = self._waiting_bytes + self._spool.num_unread_bytes
            lasts = is_lasting(error)
            self._fail(patience.lacking(error, self._place, left) if lasts else error)

    def _next(self) -> list[Operation] | None:
        """Returns what is due, once something is; None when this object is closed."""
        with self._changed:
            while not self._is_ending:
                if self._waiting and (left := self._seconds_left()) <= 0:
                    count = min(PER_BATCH, len(self._waiting))
                    return [self._waiting[i] for i in range(count)]
                self._changed.wait(left if self._waiting else None)
        return None

    def _seconds_left(self) -> float:
        """Returns for how long the first operation may still wait for others."""
        if self._is_wanted or self._is_closing or self._is_spooling:
            return 0.0
        return self._waiting[0].since + FLUSH_SECONDS - time.monotonic()

    def _refill(self) -> None:
        """Takes operations from the file once those in memory are done, and then ends the file."""
        if not self._is_spooling or self._waiting:
            return
        read = self._spool.read(PER_BATCH, BATCH_BYTES)
        self._waiting.extend(Operation(name, arguments) for name, arguments in read)
        if not read:
            self._spool.close(keep=False)
            self._is_spooling = False
            self._waiting, self._last = self._last, deque()
        self._waiting_bytes = sum(each.num_bytes for each in self._waiting)

    def _finish(self, batch: list[Operation]) -> None:
        with self._changed:
            for operation in batch:
                self._waiting_bytes -= self._waiting.popleft().num_bytes
                operation.done.set()
            if not self._is_ending:  # the file is the next launch's
                self._refill()
            # Of what waits now: what followed the file is awaited, and may have come just before.
            self._is_wanted = any(map(self._is_urgent, self._waiting))

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            for operation in (*self._waiting, *self._last):
                operation.done.set()

    def _patiently(self, function: Callable[..., None], *args: Any) -> None:
        """Calls until the store answers."""
        self._asked_since = time.monotonic()
        is_again = False
        while True:
            if self._is_ending:  # what is left is in the file
                raise _Ended
            try:
                if is_again:
                    self._find_made()
                function(*args)
            except Exception as error:
                if not patience.is_passing(error):
                    raise
                self._why, is_again = patience.reason(error), True
                with self._changed:
                    self._changed.wait(patience.RETRY_SECONDS)
            else:
                self._asked_since, self._why = None, ""
                return

    def _do(self, operation: Operation) -> None:
        if operation.function is None:
            self._doers[operation.name].do(**operation.arguments)
        elif not operation.done.is_set():
            self._flush()
            operation.result = operation.function()


class _Ended(Exception):
    """The driver is about to leave while the store does not answer."""
