"""Keeps the messages that a worker holds hidden for as long as it works on them, up to a limit."""

import logging
import threading
from collections.abc import Callable, Sequence

from beholder.clock import Clock
from beholder.queue.port import Queue
from beholder.telemetry.log import log_event

__all__ = ["VisibilityExtender"]

_log = logging.getLogger(__name__)

_STEPS_PER_TIMEOUT = 3


class VisibilityExtender:
    """Extends the visibility timeout of held messages at constant intervals, always by the same time.

    So the messages of a worker that dies stay hidden for one timeout at most, however long it has held them.

    Args:
        queue: The input queue.
        clock: The time; only durations count.
        timeout_s: Each extension, counted from the call: the queue's visibility timeout.
        hold_max_s: A message held for longer is released: the work on it hangs.
        on_hung: Called when that happens; a worker's process ends itself, so that another takes its place.
    """

    def __init__(
        self,
        queue: Queue,
        clock: Clock,
        *,
        timeout_s: float,
        hold_max_s: float,
        on_hung: Callable[[], None],
    ) -> None:
        self._on_hung = on_hung
        self._queue = queue
        self._clock = clock
        self.timeout_s = timeout_s
        self.hold_max_s = hold_max_s
        self._lock = threading.Lock()
        self._held: dict[str, float] = {}

    def hold(self, receipts: Sequence[str]) -> None:
        """Keep these messages hidden from now on."""
        now_s = self._clock.now_s()
        with self._lock:
            self._held.update(dict.fromkeys(receipts, now_s))

    def is_holding(self, receipt: str) -> bool:
        """Say whether this message is still kept hidden, as far as is known."""
        with self._lock:
            return receipt in self._held

    def release(self, receipts: Sequence[str]) -> None:
        """Keep these messages hidden no longer."""
        with self._lock:
            for receipt in receipts:
                self._held.pop(receipt, None)

    def tick(self) -> float:
        """Extend what is held for half a step or longer; return the seconds until the next pass."""
        step_s = self.timeout_s / _STEPS_PER_TIMEOUT
        now_s = self._clock.now_s()
        with self._lock:
            hung = [receipt for receipt, since_s in self._held.items() if now_s - since_s > self.hold_max_s]
            for receipt in hung:
                del self._held[receipt]
            due = [receipt for receipt, since_s in self._held.items() if now_s - since_s >= step_s / 2]
        if hung:
            log_event(
                _log, logging.WARNING, "worker.hold_cap", "work on these messages hangs", messages=len(hung)
            )
            self._on_hung()
        if due:
            gone = self._queue.extend(due, timeout_s=self.timeout_s)
            self.release(gone)
        return step_s
