"""Group commit: the threads of one process that write at the same time share one SQLite transaction.

The first thread leads: it takes the file lock, does the work of all threads in one transaction and wakes the
others. Threads that come meanwhile wait for the next round, which one of them leads. No thread waits for a
timer, so a single writer pays nothing. Between processes a lock on a file of its own keeps the order, because
a process that waits inside SQLite for the transaction of another sleeps for up to 100 ms at a time.

An event loop never waits: what it cannot do at once fails, and a thread may try it again.
Source: https://www.sqlite.org/src/file/src/main.c, sqliteDefaultBusyCallback (2025-06).
"""

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from beholder.file_lock import FileLock, is_in_event_loop

__all__ = ["BUSY_TIMEOUT_S", "GroupCommit"]

_T = TypeVar("_T")
# Only other programs hold SQLite's own lock for long; beholder's processes wait for the file lock.
BUSY_TIMEOUT_S = 10.0


class _Work:
    """One thread's piece of work, and its result."""

    __slots__ = ("error", "is_done", "result", "run", "wake")

    def __init__(self, run: Callable[[sqlite3.Connection], Any]) -> None:
        self.run = run
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.wake = threading.Lock()
        self.wake.acquire()


class GroupCommit:
    """Does pieces of work in transactions on one connection, those of several threads together.

    Args:
        connection: In autocommit mode, usable from any thread, with `BUSY_TIMEOUT_S`.
        lock: Held during each transaction.
    """

    def __init__(self, connection: sqlite3.Connection, lock: FileLock) -> None:
        self._connection = connection
        self._lock = lock
        self._mutex = threading.Lock()
        self._pending: list[_Work] = []
        self._is_led = False
        self._is_writing = threading.Lock()
        self._is_patient = True
        self._is_stuck = False
        self._is_closed = False

    def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` inside a transaction and return its result once it is committed.

        Args:
            work: Executes statements; it may run a second time after a rollback. It must not return
                a cursor: that would reset its statement in this thread while another one runs it.

        Raises:
            sqlite3.Error: Nothing of this piece of work was stored.
            OSError: The file lock cannot be taken, or the event loop would have to wait for a thread.
        """
        piece = _Work(work)
        is_loop = is_in_event_loop()
        with self._mutex:
            is_leader = not self._is_led
            if is_loop and not is_leader:
                raise OSError(errno.EBUSY, "a thread of this process writes")
            self._pending.append(piece)
            self._is_led = True
        if not is_leader:
            self._follow(piece)
        if not piece.is_done:
            self._lead(piece if is_loop else None)
        if piece.error is not None:
            raise piece.error
        result: _T = piece.result
        return result

    def close(self) -> None:
        """Close the connection once the transaction that runs is over; later work fails."""
        with self._is_writing:
            self._is_closed = True
            self._connection.close()

    def _follow(self, piece: _Work) -> None:
        try:
            # A leader releases it: the work is done, or this thread is the next to lead.
            piece.wake.acquire()
        except BaseException:  # Ctrl-C: the round must not wait for this thread
            with self._mutex:
                if piece in self._pending:
                    self._pending.remove(piece)
            if not piece.wake.locked() and not piece.is_done:
                self._hand_over()
            raise

    def _lead(self, only: _Work | None) -> None:
        """Do the work that is pending; an event loop does its own work only, since the other may wait."""
        with self._mutex:
            batch = self._pending if only is None else [only]
            self._pending = [] if only is None else [one for one in self._pending if one is not only]
        try:
            self._do(batch)
        finally:
            self._hand_over()
            for piece in batch:
                piece.is_done = True
                piece.wake.release()

    def _hand_over(self) -> None:
        with self._mutex:
            if self._pending:
                self._pending[0].wake.release()
            else:
                self._is_led = False

    def _do(self, batch: list[_Work], *, is_last_try: bool = False) -> None:
        try:
            self._transact(batch)
        except (sqlite3.Error, OSError) as exc:
            is_full = getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            if is_full and not is_in_event_loop():
                self._make_room()
            if len(batch) > 1:
                for piece in batch:  # a piece that is too large must not fail the others
                    self._do([piece])
            elif is_full and not is_last_try and not is_in_event_loop():
                self._do(batch, is_last_try=True)
            else:
                batch[0].error = exc
        except BaseException:
            for piece in batch:
                piece.error = sqlite3.OperationalError("the transaction was interrupted")
            raise

    def _make_room(self) -> None:
        """Give the log's room back to the disk, which the failed work may have filled: an ack needs room."""
        with self._is_writing, self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.execute("pragma wal_checkpoint(truncate)").fetchone()

    def _transact(self, batch: list[_Work]) -> None:
        with self._is_writing:
            if self._is_closed:
                raise sqlite3.ProgrammingError("the queue is closed")
            with self._lock:
                self._begin()
                try:
                    for piece in batch:
                        piece.result = piece.run(self._connection)
                    self._connection.execute("commit")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("rollback")

    def _begin(self) -> None:
        is_patient = not self._is_stuck and not is_in_event_loop()
        if is_patient != self._is_patient:
            timeout_ms = round(BUSY_TIMEOUT_S * 1000) if is_patient else 0
            self._connection.execute(f"pragma busy_timeout = {timeout_ms}").fetchone()
            self._is_patient = is_patient
        try:
            self._connection.execute("begin immediate")
        except sqlite3.OperationalError:
            self._is_stuck = self._is_stuck or is_patient
            raise
        self._is_stuck = False
