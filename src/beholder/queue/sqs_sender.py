"""Sends of several threads share a batch: ten messages cost one request, whoever they come from.

A thread that comes while no request is under way, nor was a moment ago, sends at once. Otherwise it opens a
batch and waits a few milliseconds for others to fill it; whoever opened a batch sends it, so that no thread
of its own is needed.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from beholder.clock import Clock, MonotonicClock
from beholder.errors import BackendError, BackendUnavailable

__all__ = ["BatchSender", "Entry"]

# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
# (2026-11): ten entries, and 1 MiB in all.
_ENTRIES_MAX = 10
_BATCH_BYTES_MAX = 1024 * 1024
# So long after a send another is likely: what one client waits for between two images is longer.
_BUSY_GATHERS = 4
_MONOTONIC = MonotonicClock()


@dataclass(slots=True)
class Entry:
    """One message on its way into a batch.

    Args:
        parameters: What SQS is told of it.
        size_bytes: What it counts for against SQS's limits.
        is_sent: Whether SQS has it.
        error: Why not.
    """

    parameters: dict[str, Any]
    size_bytes: int
    is_sent: bool = False
    error: BackendError | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    entries: list[Entry]
    size_bytes: int
    is_full: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)

    def has_room(self, entries: Sequence[Entry], size_bytes: int) -> bool:
        fits = self.size_bytes + size_bytes <= _BATCH_BYTES_MAX
        return fits and len(self.entries) + len(entries) <= _ENTRIES_MAX

    def add(self, entries: Sequence[Entry], size_bytes: int) -> None:
        self.entries += entries
        self.size_bytes += size_bytes


class BatchSender:
    """Gathers what threads send into batches."""

    def __init__(
        self, deliver: Callable[[Sequence[Entry]], None], *, gather_s: float, clock: Clock = _MONOTONIC
    ) -> None:
        """Hand every batch to `deliver`, which sets each entry's `is_sent` or `error`.

        Args:
            deliver: Called in a thread that sends, in several at once.
            gather_s: How long a batch waits for more, where another one is under way or was a moment ago.
            clock: Tells how long ago; only durations count.
        """
        self._deliver = deliver
        self._clock = clock
        self._sent_at_s = -math.inf
        self._gather_s = gather_s
        self._lock = threading.Lock()
        self._open: _Batch | None = None
        self._under_way = 0

    def send(self, entries: Sequence[Entry]) -> None:
        """Send all entries; those of one call stay in order.

        Raises:
            BackendError: Some were not sent, or may not have been; those of earlier batches were.
        """
        *whole, last = _split(entries)
        for batch in whole:
            self._send(batch)
            _raise_for(batch.entries)
        self._share(last)
        _raise_for(last.entries)

    def _share(self, mine: _Batch) -> None:
        """Send a batch together with what other threads have; `mine` itself stays as it is."""
        with self._lock:
            batch = self._open
            is_joined = batch is not None and batch.has_room(mine.entries, mine.size_bytes)
            if batch is not None and is_joined:
                batch.add(mine.entries, mine.size_bytes)
            elif batch is not None:
                batch.is_full.set()
            if batch is None or not is_joined:
                batch = self._open = _Batch(list(mine.entries), mine.size_bytes)
            if len(batch.entries) == _ENTRIES_MAX:
                batch.is_full.set()
                self._open = None
            quiet_s = self._clock.now_s() - self._sent_at_s
            is_busy = self._under_way > 0 or quiet_s < _BUSY_GATHERS * self._gather_s
        if is_joined:
            batch.is_over.wait()
            return
        try:
            if is_busy:
                batch.is_full.wait(self._gather_s)
        finally:
            with self._lock:
                if self._open is batch:
                    self._open = None
            self._send(batch)

    def _send(self, batch: _Batch) -> None:
        with self._lock:
            self._under_way += 1
        try:
            self._deliver(batch.entries)
        finally:
            with self._lock:
                self._under_way -= 1
                self._sent_at_s = self._clock.now_s()
            batch.is_over.set()


def _split(entries: Sequence[Entry]) -> list[_Batch]:
    """Return entries in as few batches as keep their order."""
    batches = [_Batch([], 0)]
    for entry in entries:
        if not batches[-1].has_room([entry], entry.size_bytes):
            batches.append(_Batch([], 0))
        batches[-1].add([entry], entry.size_bytes)
    return batches


def _raise_for(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.error is not None:
            raise entry.error
        if not entry.is_sent:  # Ctrl-C in the thread that was to send it
            raise BackendUnavailable("sqs queue", "send", "interrupted; the message may have been sent")
