"""The in-flight journal: what a worker holds, written where its successor can read it.

A process that dies by a signal cannot say what it did last, so a worker writes it down beforehand: before it
touches a batch, the messages that it holds; before it decodes an image, the number of its message. The
successor of the same name continues with the batch under the same receipts, without another receive. Only the
message whose image was being decoded goes back to the queue, where its receive count grows until it becomes a
dead letter. So an image that kills its worker costs the other images of the batch nothing.

The page cache outlives the process. Nothing here has to outlive the machine: if that is lost, the visibility
timeout makes the messages visible again.
"""

import json
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beholder.queue.port import Received
from beholder.telemetry.log import log_event

__all__ = ["InFlightJournal", "LeftBehind"]

_log = logging.getLogger(__name__)

_NOTHING = -1
_CURRENT_BYTES = 8


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
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._is_written = False

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
        document = {
            "held": [
                {
                    "body": b64encode(message.body).decode(),
                    "receipt": message.receipt,
                    "count": message.receive_count,
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
