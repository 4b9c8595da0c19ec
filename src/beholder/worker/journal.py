"""The in-flight journal: what a worker holds, written where its successor can read it.

A process that dies by a signal cannot say what it was doing, so it says so beforehand: before a batch is
touched the worker writes the deliveries it holds into a small file, and before each image is decoded, which
one it is. The successor under the same name goes on with the batch under the same receipts, without another
receive; only the delivery that was being decoded when the worker died goes back to the queue, where its
receive count grows until it is dead-lettered. So a poison image costs its neighbours nothing.

The page cache outlives the process; nothing here has to outlive the machine, where the visibility timeout
does the same work later.
"""

import json
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beholder.queue.port import Received
from beholder.telemetry.log import get_logger, log_event

__all__ = ["InFlightJournal", "LeftBehind"]

_log = get_logger(__name__)

_NOTHING = -1
_CURRENT_BYTES = 8


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What a predecessor held when it died.

    Args:
        held: Its deliveries.
        current: The one being decoded, or None.
        resumed: The predecessor had itself taken them over from one that died.
    """

    held: tuple[Received, ...]
    current: Received | None
    resumed: bool


class InFlightJournal:
    """A file of one worker: eight bytes that number the current delivery, then the deliveries as JSON.

    Where it cannot be written, as on a full disk, there is none: that costs the neighbours of a poison image
    a receive, while an error would cost every job one.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`; a missing file is created."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._is_written = False

    def close(self) -> None:
        """Let go of the file; what it says stays."""
        os.close(self._fd)

    def left_behind(self) -> LeftBehind:
        """Return what the predecessor held; nothing where there is no readable note."""
        raw = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        try:
            document = json.loads(raw[_CURRENT_BYTES:])
            held = tuple(
                Received(b64decode(one["body"]), one["receipt"], one["count"]) for one in document["held"]
            )
            number = int(raw[:_CURRENT_BYTES])
            current = held[number] if number != _NOTHING else None
            return LeftBehind(held, current, bool(document["resumed"]))
        except (ValueError, KeyError, TypeError, IndexError):
            return LeftBehind((), None, resumed=False)

    def hold(self, held: Sequence[Received], *, resumed: bool = False) -> None:
        """Write what is held now, none of it being decoded yet."""
        document = {
            "held": [
                {"body": b64encode(one.body).decode(), "receipt": one.receipt, "count": one.receive_count}
                for one in held
            ],
            "resumed": resumed,
        }
        data = b"%8d" % _NOTHING + json.dumps(document).encode()
        self._is_written = self._write(data)
        if self._is_written:
            os.ftruncate(self._fd, len(data))

    def decoding(self, number: int | None) -> None:
        """Say which of the held deliveries is being decoded, by its place; None for none of them."""
        if self._is_written:
            self._is_written = self._write(b"%8d" % (_NOTHING if number is None else number))

    def clear(self) -> None:
        """Hold nothing."""
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
            _log, logging.WARNING, "worker.journal_lost", "the holding note cannot be written", reason=reason
        )
        os.ftruncate(self._fd, 0)
        return False
