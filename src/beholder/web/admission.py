"""Backpressure: beyond a stated backlog the service says no at once, instead of queueing without end."""

import math
import threading

from beholder.clock import Clock
from beholder.errors import Overloaded
from beholder.queue.port import Depth, Queue

__all__ = ["Admission"]

_REFRESH_S = 0.25
_RETRY_MAX_S = 60


class Admission:
    """Decides whether one more job is taken in.

    The depth is read a few times a second, and what was accepted since is added, so the bound holds between
    two readings.

    Args:
        queue: The input queue.
        clock: The time.
        backlog_max: Waiting jobs beyond which new ones are refused.
    """

    def __init__(self, queue: Queue, clock: Clock, *, backlog_max: int) -> None:
        """Assume an empty queue until the first reading."""
        self._queue = queue
        self._clock = clock
        self._backlog_max = backlog_max
        self._lock = threading.Lock()
        self._depth = Depth(0, 0, 0)
        self._accepted_since = 0
        self._drained_per_s = 0.0
        self._read_at_s: float | None = None

    @property
    def depth(self) -> Depth:
        """The last reading."""
        return self._depth

    def admit(self) -> None:
        """Count one more job in.

        Raises:
            Overloaded: The backlog is full; the error says after how many seconds it may have drained.
        """
        with self._lock:
            if self._depth.backlog + self._accepted_since >= self._backlog_max:
                raise Overloaded(
                    f"{self._backlog_max} jobs wait already; try again after the time in Retry-After",
                    retry_after_s=self._retry_after_s(),
                )
            self._accepted_since += 1

    def tick(self) -> float:
        """Read the queue's depth; returns the seconds until the next reading."""
        with self._lock:
            accepted = self._accepted_since
        depth = self._queue.depth()
        now_s = self._clock.now_s()
        with self._lock:
            if self._read_at_s is not None and now_s > self._read_at_s:
                drained = self._depth.backlog + accepted - depth.backlog
                rate = max(0.0, drained / (now_s - self._read_at_s))
                self._drained_per_s += 0.3 * (rate - self._drained_per_s)
            self._depth = depth
            self._accepted_since -= accepted
            self._read_at_s = now_s
        return _REFRESH_S

    def _retry_after_s(self) -> int:
        tenth = self._backlog_max / 10
        if self._drained_per_s <= 0:
            return _RETRY_MAX_S
        return min(_RETRY_MAX_S, max(1, math.ceil(tenth / self._drained_per_s)))
