"""Group commit: the threads of one process that write at the same time share one SQLite transaction.

The first thread leads: it takes the file lock, does the work of all threads in one transaction and wakes the
others. Threads that come meanwhile wait for the next round, which one of them leads. No thread waits for a
timer, so a single writer pays nothing. Between processes a lock on a file of its own keeps the order, because
a process that waits inside SQLite for the transaction of another sleeps for up to 100 ms at a time.
Source: https://www.sqlite.org/src/file/src/main.c, sqliteDefaultBusyCallback (2025-06).
"""

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["FileLock", "GroupCommit"]

_T = TypeVar("_T")


class FileLock:
    """A lock between processes, and between objects of one process; the kernel frees it when its holder dies.

    Args:
        path: The file that is locked; made if it is missing.

    Raises:
        OSError: The file cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def __enter__(self) -> None:
        """Take the lock, once it is free."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock cannot be taken any more."""
        self._file.close()


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
        connection: In autocommit mode, and usable from any thread.
        lock: Held during each transaction.
    """

    def __init__(self, connection: sqlite3.Connection, lock: FileLock) -> None:
        self._connection = connection
        self._lock = lock
        self._mutex = threading.Lock()
        self._pending: list[_Work] = []
        self._is_led = False
        self._is_writing = threading.Lock()
        self._is_closed = False

    def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` inside a transaction and return its result once it is committed.

        Args:
            work: Executes statements; it may run a second time after a rollback. It must not return
                a cursor: that would reset its statement in this thread while another one runs it.

        Raises:
            sqlite3.Error: Nothing of this piece of work was stored.
            OSError: The file lock cannot be taken.
        """
        piece = _Work(work)
        with self._mutex:
            self._pending.append(piece)
            is_leader = not self._is_led
            self._is_led = True
        if not is_leader:
            self._follow(piece)
        if not piece.is_done:
            self._lead()
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

    def _lead(self) -> None:
        with self._mutex:
            batch, self._pending = self._pending, []
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
            if is_full:
                self._make_room()
            if len(batch) > 1:
                for piece in batch:  # a piece that is too large must not fail the others
                    self._do([piece])
            elif is_full and not is_last_try:
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
                self._connection.execute("begin immediate")
                try:
                    for piece in batch:
                        piece.result = piece.run(self._connection)
                    self._connection.execute("commit")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("rollback")
