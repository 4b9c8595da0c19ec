"""The in-flight journal: what a worker holds, written where its successor can read it.

A process that dies by a signal cannot say what it did last, so a worker writes it down beforehand: before it
touches a batch, the messages that it holds; before it decodes an image, the number of its message. The
successor of the same name continues with the batch under the same receipts, without another receive. Only the
message whose image was being decoded goes back to the queue, where its receive count grows until it becomes a
dead letter. So an image that kills its worker costs the other images of the batch nothing.

The page cache outlives the process. Nothing here has to outlive the machine: if that is lost, the visibility
timeout makes the messages visible again.

Web processes of the same machine read the journals to tell which jobs run. A lock on the file says that its
worker lives, so what a dead one held counts no more.
"""

import fcntl
import json
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from beholder.clock import Clock, SystemClock
from beholder.job import Message, MessageInvalid
from beholder.queue.port import Received
from beholder.telemetry.log import log_event

__all__ = ["InFlightJournal", "LeftBehind", "read_running"]

_log = logging.getLogger(__name__)

_NOTHING = -1
_CURRENT_BYTES = 8
_SYSTEM_CLOCK = SystemClock()
# A reader may see a journal that is half written; it is whole a moment later.
_READS_MAX = 3


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What a predecessor held when it died.

    Args:
        held: The messages.
        current: The message whose image was being decoded, or None.
        resumed: The predecessor had taken them over from its own predecessor.
    """

    held: tuple[Received, ...]
    current: Received | None
    resumed: bool


class InFlightJournal:
    """A file of one consumer: eight bytes with the number of the current message, then the messages as JSON.

    If it cannot be written, as on a full disk, the worker goes on without it: a crash then costs each message
    of the batch a receive, which an error here would cost every message.

    Args:
        path: The file; made if it is missing.
        clock: The time of day.
    """

    def __init__(self, path: Path, clock: Clock = _SYSTEM_CLOCK) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._clock = clock
        self._is_written = False
        self._is_locked = False
        self._since_s: Mapping[str, float] = {}

    def close(self) -> None:
        """Close the file; its content stays."""
        os.close(self._fd)

    def left_behind(self) -> LeftBehind:
        """Return what the predecessor held; nothing if the journal is empty or torn."""
        raw = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        try:
            document = json.loads(raw[_CURRENT_BYTES:])
            held = tuple(
                Received(b64decode(message["body"]), message["receipt"], message["count"])
                for message in document["held"]
            )
            number = int(raw[:_CURRENT_BYTES])
            current = held[number] if number != _NOTHING else None
            return LeftBehind(held, current, bool(document["resumed"]))
        except (ValueError, KeyError, TypeError, IndexError):
            return LeftBehind((), None, resumed=False)

    def hold(self, held: Sequence[Received], *, resumed: bool = False) -> None:
        """Write what is held now; none of it is being decoded yet."""
        if not self._is_locked:  # a reader may have it for a moment, or a predecessor until it has ended
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._is_locked = True
        now_s = self._clock.now_s()
        self._since_s = {message.receipt: self._since_s.get(message.receipt, now_s) for message in held}
        document = {
            "held": [
                {
                    "body": b64encode(message.body).decode(),
                    "receipt": message.receipt,
                    "count": message.receive_count,
                    "since": self._since_s[message.receipt],
                }
                for message in held
            ],
            "resumed": resumed,
        }
        data = b"%8d" % _NOTHING + json.dumps(document).encode()
        self._is_written = self._write(data)
        if self._is_written:
            os.ftruncate(self._fd, len(data))

    def decoding(self, number: int | None) -> None:
        """Write which of the held messages is being decoded, by its number; None for no message."""
        if self._is_written:
            self._is_written = self._write(b"%8d" % (_NOTHING if number is None else number))

    def clear(self) -> None:
        """Write that nothing is held."""
        os.ftruncate(self._fd, 0)
        self._is_written = False

    def _write(self, data: bytes) -> bool:
        try:
            if os.pwrite(self._fd, data, 0) == len(data):
                return True
            reason = "no room left"
        except OSError as exc:
            reason = str(exc.strerror)
        log_event(
            _log,
            logging.WARNING,
            "worker.journal_lost",
            "the in-flight journal cannot be written",
            reason=reason,
        )
        os.ftruncate(self._fd, 0)
        return False


def read_running(folder: Path) -> dict[str, float]:
    """Return the jobs that the living workers of a machine hold, and when each was received.

    Args:
        folder: The folder of the journals.
    """
    found: dict[str, float] = {}
    for path in folder.glob("*.journal"):
        found |= _held_in(path)
    return found


def _held_in(path: Path) -> dict[str, float]:
    for _ in range(_READS_MAX):
        try:
            with path.open("rb") as file:
                raw = file.read()
                if not raw or not _is_locked(file.fileno()):
                    return {}
            held = json.loads(raw[_CURRENT_BYTES:])["held"]
            jobs = [(_job_id_in(b64decode(one["body"])), float(one["since"])) for one in held]
            return {job_id: since_s for job_id, since_s in jobs if job_id}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            continue
    return {}


def _job_id_in(body: bytes) -> str | None:
    try:
        return Message.from_bytes(body).job_id
    except MessageInvalid:
        return None


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until the file is closed
    except BlockingIOError:
        return True
    return False
