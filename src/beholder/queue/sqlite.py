"""The queue of one machine: a SQLite file that any number of processes and threads share.

Web processes send and workers receive; a notifier wakes a receive that waits. One file holds many named
queues, so that a message moves to its dead-letter queue inside one transaction.
"""

import contextlib
import errno
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

from beholder.clock import Clock, SystemClock
from beholder.errors import BackendDenied, BackendError, BackendFull, BackendUnavailable, QueueDamaged
from beholder.file_lock import FileLock
from beholder.queue import statements as sql
from beholder.queue.bounds import check_heavy, check_name, check_receive, check_redrive, check_seconds
from beholder.queue.commit import BUSY_TIMEOUT_S, GroupCommit
from beholder.queue.damage import damage_marker, mark_damaged
from beholder.queue.notifier import Notifier, Notifiers
from beholder.queue.port import Depth, Priority, Received
from beholder.queue.round_robin import HEAVY, LIGHT, PRIORITIES, WeightedRoundRobin

__all__ = ["SqliteQueue"]

_T = TypeVar("_T")
_SYSTEM_CLOCK = SystemClock()
_BACKEND = "sqlite queue"

# A waiting receive that is not notified looks again after this long: the sender may have been killed.
_RECHECK_S = 2.0
# 16 MB of log between two checkpoints, because every checkpoint waits for the disk twice.
_CHECKPOINT_PAGES = 4000
_WAL_BYTES_KEPT = 64 * 1024 * 1024
_TOKEN_BITS = 59  # at most 18 digits
_RECEIPT = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")

# SQLite takes plain numbers four times as fast as those of an enumeration.
_NUMBERS = {priority: int(priority) for priority in PRIORITIES}

_ERRORS_OF_SQLITE: dict[int, type[BackendError]] = {
    sqlite3.SQLITE_CORRUPT: QueueDamaged,
    sqlite3.SQLITE_NOTADB: QueueDamaged,
    sqlite3.SQLITE_FULL: BackendFull,
    sqlite3.SQLITE_IOERR: BackendFull,  # what SQLite reports if the file system itself runs out of room
    sqlite3.SQLITE_READONLY: BackendDenied,
    sqlite3.SQLITE_PERM: BackendDenied,
    sqlite3.SQLITE_AUTH: BackendDenied,
}
_ERRORS_OF_SYSTEM: dict[int, type[BackendError]] = {
    errno.ENOSPC: BackendFull,
    errno.EDQUOT: BackendFull,
    errno.EACCES: BackendDenied,
    errno.EPERM: BackendDenied,
    errno.EROFS: BackendDenied,
    errno.EISDIR: BackendDenied,
}


class SqliteQueue:
    """A queue in a SQLite file in WAL mode; see the `Queue` port for its methods.

    A message that `send` stored survives the death of any process at once, and a power cut with `fsync`. Open
    the queue after forking, not before: neither SQLite's connections nor the file lock survive a fork.

    Args:
        path: The database, made if it is missing; files of the same name with suffixes lie beside it.
        name: The queue's name within the file, 1 to 80 letters, digits, hyphens or underscores.
        visibility_timeout_s: Hidden time of a received message, unless `receive` is given another.
        receive_count_max: Receives before a message moves to `dead_letters`; None for no limit.
        dead_letters: Name of the dead-letter queue in the same file.
        heavy_in_flight_max: Heavy messages in flight at once; None for no limit.
        clock: Decides when messages become visible; waiting goes by the machine's monotonic clock.
        fsync: Whether each commit waits for the disk, at about a third of the speed.

    Raises:
        ValueError: A name or number is out of range.
        BackendFull: The disk has no room for a new file.
        BackendDenied: The file or its folder cannot be written.
        BackendUnavailable: Another program has locked the file.
        QueueDamaged: The file is no database, or not that of a queue.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        visibility_timeout_s: float = 30.0,
        receive_count_max: int | None = None,
        dead_letters: str | None = None,
        heavy_in_flight_max: int | None = None,
        clock: Clock = _SYSTEM_CLOCK,
        fsync: bool = False,
    ) -> None:
        for queue in (name, dead_letters or name):
            check_name(queue)
        check_seconds("visibility_timeout_s", visibility_timeout_s)
        check_redrive(receive_count_max=receive_count_max, has_dead_letters=dead_letters is not None)
        check_heavy(heavy_in_flight_max)
        self._path = path
        self._name = name
        self._heavy_in_flight_max = heavy_in_flight_max
        self._round_robin = WeightedRoundRobin()
        self._visibility_timeout_s = visibility_timeout_s
        self._receive_count_max = receive_count_max
        self._dead_letters = dead_letters
        self._clock = clock
        folder = path.with_name(f"{path.name}.notifiers")
        self._notifiers = Notifiers(folder / name)
        # No queue has a dot in its name.
        self._watchers = Notifiers(folder / f"{name}.watchers")
        self._dead_notifiers = Notifiers(folder / (dead_letters or name))
        self._reading = threading.Lock()
        with _translated("open", path), contextlib.ExitStack() as undo:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path.with_name(f"{path.name}.lock"))
            undo.callback(self._lock.close)
            with self._lock:  # one process at a time makes the file and its tables
                writer = _connect(path, fsync=fsync)
                undo.callback(writer.close)
                sql.make_tables(writer)
                self._reader = _connect(path, fsync=fsync)
                undo.callback(self._reader.close)
            self._files = str(path), f"{path}-wal"
            self._file_id = _file_id(*self._files)
            self._interrupt_fd = os.eventfd(0)
            undo.pop_all()
        self._is_interrupted = False
        self._writer = GroupCommit(writer, self._lock)
        # A process may have been killed after it sent a message, or after it was notified of one.
        self._notifiers.notify()

    def __enter__(self) -> Self:
        """Return the queue itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the queue."""
        self.close()

    def close(self) -> None:
        """Close the file; calls made later, or still waiting, raise `BackendUnavailable`."""
        self._writer.close()
        with self._reading:
            self._reader.close()
            fd, self._interrupt_fd = self._interrupt_fd, -1
            if fd >= 0:  # a second close does nothing
                os.close(fd)
        self._lock.close()

    def interrupt(self) -> None:
        """End the waiting of all receives of this object, for good: the process ends."""
        self._is_interrupted = True
        with self._reading:
            if self._interrupt_fd >= 0:
                os.eventfd_write(self._interrupt_fd, 1)

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.ASYNCHRONOUS) -> None:
        """Store every body as a message of its own; see `Queue.send`."""
        if not bodies:
            return

        def insert(db: sqlite3.Connection) -> None:
            visible_at_s, number = self._clock.now_s(), int(priority)
            db.executemany(sql.INSERT, [(self._name, visible_at_s, number, body) for body in bodies])

        self._write("send", insert)
        self._notifiers.notify(len(bodies))
        self._watchers.notify()

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` visible messages and hide them; see `Queue.receive`."""
        check_receive(count_max=count_max, wait_s=wait_s)
        timeout_s = self._visibility_timeout_s if visibility_timeout_s is None else visibility_timeout_s
        check_seconds("visibility_timeout_s", timeout_s)
        wait_until_s = time.monotonic() + wait_s
        taken = self._take(count_max, timeout_s)
        while not taken and not self._is_interrupted and (left_s := wait_until_s - time.monotonic()) > 0:
            with (
                _translated("receive", self._path),
                self._notifiers.listening(self._interrupt_fd) as notifier,
            ):
                sleep_s = min(left_s, self._due_in_s(), _RECHECK_S)
                if sleep_s > 0:
                    notifier.wait(sleep_s)
            taken = self._take(count_max, timeout_s)
            if taken and self._due_in_s() <= 0:  # one notification may stand for several messages
                self._notifiers.notify()
        return taken

    def watching(self) -> contextlib.AbstractContextManager[Notifier]:
        """Watch for messages that any process sends from now on, without receiving any.

        Raises:
            OSError: When entered, on a full disk for example.
        """
        return self._watchers.listening(self._interrupt_fd)

    def extend(self, receipts: Sequence[str], *, timeout_s: float) -> list[str]:
        """Hide messages for `timeout_s` more seconds, counted from this call; see `Queue.extend`."""
        check_seconds("timeout_s", timeout_s)
        if not receipts:
            return []

        def extend(db: sqlite3.Connection) -> list[str]:
            now_s = self._clock.now_s()
            return [
                receipt
                for receipt in receipts
                if (key := self._key(receipt)) is None
                or not db.execute(sql.EXTEND, (now_s + timeout_s, *key, now_s)).rowcount
            ]

        lost = self._write("extend", extend)
        self._notify_for_timeout(timeout_s)
        return lost

    def ack(self, receipts: Sequence[str]) -> None:
        """Delete messages for good; see `Queue.ack`."""
        keys = [key for receipt in receipts if (key := self._key(receipt))]
        if keys:
            self._write("ack", lambda db: db.executemany(sql.ACK, keys).rowcount)

    def nack(self, receipts: Sequence[str]) -> None:
        """Make messages visible now; see `Queue.nack`."""
        keys = [key for receipt in receipts if (key := self._key(receipt))]
        if not keys:
            return

        def make_visible(db: sqlite3.Connection) -> int:
            now_s = self._clock.now_s()
            return db.executemany(sql.NACK, [(now_s, *key, now_s) for key in keys]).rowcount

        self._notifiers.notify(self._write("nack", make_visible))

    def depth(self) -> Depth:
        """Return the approximate number of messages; see `Queue.depth`."""
        self._check_file("depth")
        if damage_marker(self._path).exists():  # another process met the damage
            raise QueueDamaged(_BACKEND, "depth")
        now_s = self._clock.now_s()
        backlogs: dict[Priority, int] = {}
        in_flight = 0
        with _translated("depth", self._path), self._reading:
            for priority, number in _NUMBERS.items():
                at = (self._name, number, now_s)
                (backlogs[priority],) = self._reader.execute(sql.BACKLOG, at).fetchone()
                in_flight += self._reader.execute(sql.HIDDEN, at).fetchone()[0]
        interactive = sum(backlogs[classes[0]] for classes in (LIGHT, HEAVY))
        return Depth(sum(backlogs.values()), in_flight, 0, interactive)

    def _take(self, count_max: int, timeout_s: float) -> list[Received]:
        if self._due_in_s() > 0:  # read-only: an idle poll takes no lock
            return []
        messages, dead_count = self._write("receive", lambda db: self._take_in(db, count_max, timeout_s))
        if dead_count:
            self._dead_notifiers.notify(dead_count)
        if messages:
            self._notify_for_timeout(timeout_s)
        return messages

    def _take_in(
        self, db: sqlite3.Connection, count_max: int, timeout_s: float
    ) -> tuple[list[Received], int]:
        """Return messages, now hidden, and how many more went to the dead letters."""
        now_s = self._clock.now_s()
        hidden: list[tuple[float, int, int]] = []
        dead: list[tuple[str | None, float, int]] = []
        # The cursors close before the updates, which would move rows under them.
        with contextlib.ExitStack() as cursors:
            rows = {
                priority: cursors.enter_context(
                    contextlib.closing(db.execute(sql.VISIBLE, (self._name, number, now_s)))
                )
                for priority, number in _NUMBERS.items()
            }

            def pop(priority: Priority) -> Received | None:
                for row_id, receive_count, body in rows[priority]:
                    if self._receive_count_max is None or receive_count < self._receive_count_max:
                        token = secrets.randbits(_TOKEN_BITS)
                        hidden.append((now_s + timeout_s, token, row_id))
                        return Received(body, f"{row_id}-{token}", receive_count + 1)
                    dead.append((self._dead_letters, now_s, row_id))
                return None

            messages = self._round_robin.take(
                pop, count_max=count_max, heavy_has_room=self._heavy_has_room(db, now_s)
            )
        db.executemany(sql.HIDE, hidden)
        db.executemany(sql.REDRIVE, dead)
        return messages, len(dead)

    def _heavy_has_room(self, db: sqlite3.Connection, now_s: float) -> bool:
        if self._heavy_in_flight_max is None:
            return True
        found: Iterator[int] = (
            db.execute(sql.HIDDEN, (self._name, _NUMBERS[priority], now_s)).fetchone()[0]
            for priority in HEAVY
        )
        return sum(found) < self._heavy_in_flight_max

    def _due_in_s(self) -> float:
        """Return in how many seconds a message may be received; infinity if there is none."""
        self._check_file("receive")
        now_s = self._clock.now_s()
        with _translated("receive", self._path), self._reading:
            found = {
                priority: self._reader.execute(sql.DUE, (self._name, number)).fetchone()[0]
                for priority, number in _NUMBERS.items()
            }
            due_s = {priority: at_s for priority, at_s in found.items() if at_s is not None}
            is_heavy = any(priority in due_s for priority in HEAVY)
            if is_heavy and not self._heavy_has_room(self._reader, now_s):
                due_s = {priority: at_s for priority, at_s in due_s.items() if priority in LIGHT}
        return min(due_s.values(), default=float("inf")) - now_s

    def _notify_for_timeout(self, timeout_s: float) -> None:
        """Notify one waiting receive of a hidden time that ends before it would look again."""
        if timeout_s < _RECHECK_S:
            self._notifiers.notify()

    def _key(self, receipt: str) -> tuple[int, int, str] | None:
        """Return the parameters that find the message of `receipt`; None if it is no receipt."""
        found = _RECEIPT.fullmatch(receipt)
        return (int(found[1]), int(found[2]), self._name) if found else None

    def _write(self, operation: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self._check_file(operation)
        with _translated(operation, self._path):
            return self._writer.run(work)

    def _check_file(self, operation: str) -> None:
        """Refuse to work on a file that has lost its name: its content goes with the last process.

        Raises:
            BackendUnavailable: The file was deleted or replaced, or its folder was.
        """
        try:
            is_there = _file_id(*self._files) == self._file_id
        except OSError:
            is_there = False
        if not is_there:
            raise BackendUnavailable(
                _BACKEND, operation, f"{self._path} was deleted or replaced while in use; restart beholder"
            )


def _file_id(path: str, log: str) -> tuple[int, int, int]:
    """Return what distinguishes a queue file, with its log, from another file of the same name.

    The log stays the same for as long as any process has the file open.
    """
    found = os.stat(path)  # noqa: PTH116 -- several times as fast, and run at every call
    return found.st_dev, found.st_ino, os.stat(log).st_ino  # noqa: PTH116 -- likewise


def _connect(path: Path, *, fsync: bool) -> sqlite3.Connection:
    # Usable from any thread: the locks above let one thread at a time use a connection.
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        db.execute("pragma journal_mode = wal")
        db.execute(f"pragma synchronous = {'full' if fsync else 'normal'}")
        db.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        db.execute(f"pragma journal_size_limit = {_WAL_BYTES_KEPT}")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _translated(operation: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeError) as exc:
        error = _error_for(exc, operation)
        if error is QueueDamaged:
            mark_damaged(path, str(exc))
        raise error(_BACKEND, operation, f"{path}: {exc}") from exc


def _error_for(exc: sqlite3.Error | OSError | UnicodeError, operation: str) -> type[BackendError]:
    if isinstance(exc, OSError):
        return _ERRORS_OF_SYSTEM.get(exc.errno or 0, BackendUnavailable)
    # The low byte is the error, the rest says which kind. Source: https://www.sqlite.org/rescode.html
    code = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
    if isinstance(exc, UnicodeError) or (operation == "open" and code == sqlite3.SQLITE_ERROR):
        return QueueDamaged  # undecodable names, or tables that are not those of a queue
    return _ERRORS_OF_SQLITE.get(code, BackendUnavailable)
