"""Backpressure: beyond a stated backlog the service says no at once, instead of queueing without end."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beholder.clock import Clock
from beholder.errors import Overloaded
from beholder.queue.port import Depth, Queue

__all__ = ["Admission"]

_RETRY_MAX_S = 60
# The rate is averaged over this long, since workers take whole batches and one reading shows all or none.
_MEMORY_S = 10.0


class Admission:
    """Decides whether one more job is taken in.

    The depth is read again and again. What was sent since is added, and so is what is being taken in
    and not yet sent, however many readings that lasts: the bound holds between two readings and in a rush.

    Args:
        queue: The input queue.
        clock: The time.
        backlog_max: Waiting jobs beyond which new ones are refused.
        every_s: How often the depth is read.
    """

    def __init__(self, queue: Queue, clock: Clock, *, backlog_max: int, every_s: float = 0.25) -> None:
        """Assume an empty queue until the first reading."""
        self._queue = queue
        self._clock = clock
        self._backlog_max = backlog_max
        self._every_s = every_s
        self._lock = threading.Lock()
        self._depth = Depth(0, 0, 0)
        self._entering = 0
        self._sent_since = 0
        self._drained_per_s = 0.0
        self._read_at_s: float | None = None

    @property
    def depth(self) -> Depth:
        """The last reading."""
        return self._depth

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one more job in for the time of the block, which sends it; a block that fails sent nothing.

        Raises:
            Overloaded: The backlog is full; the error says after how many seconds it may have drained.
        """
        with self._lock:
            if self._depth.backlog + self._sent_since + self._entering >= self._backlog_max:
                raise Overloaded(
                    f"{self._backlog_max} jobs wait already; try again after the time in Retry-After",
                    retry_after_s=self._retry_after_s(),
                )
            self._entering += 1
        sent = 0
        try:
            yield
            sent = 1
        finally:
            with self._lock:
                self._entering -= 1
                self._sent_since += sent

    def tick(self) -> float:
        """Read the queue's depth; returns the seconds until the next reading."""
        with self._lock:
            sent = self._sent_since
        depth = self._queue.depth()
        now_s = self._clock.now_s()
        with self._lock:
            if self._read_at_s is not None and now_s > self._read_at_s:
                drained = self._depth.backlog + sent - depth.backlog
                rate = max(0.0, drained / (now_s - self._read_at_s))
                weight = 1 - math.exp((self._read_at_s - now_s) / _MEMORY_S)
                self._drained_per_s += weight * (rate - self._drained_per_s)
            self._depth = depth
            self._sent_since -= sent
            self._read_at_s = now_s
        return self._every_s

    def _retry_after_s(self) -> int:
        tenth = self._backlog_max / 10
        if self._drained_per_s <= 0:
            return _RETRY_MAX_S
        return min(_RETRY_MAX_S, max(1, math.ceil(tenth / self._drained_per_s)))
