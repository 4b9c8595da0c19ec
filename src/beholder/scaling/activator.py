"""Leaves zero at once: a web process that sends a message while there is no instance wakes the controller.

Without it the first message waits for the next tick, and until the queue's counts tell of it. Only the
leader's own messages can wake it; those of other web processes it finds in the counts.
"""

import threading
from collections import deque

from beholder.clock import Clock

__all__ = ["Activator"]

# Longer than it takes until a woken controller has launched something, and shorter than the least stay of the
# last worker: what such a one has served is not taken for a message that waits.
_KEPT_S = 10.0


class Activator:
    """Knows what this process sent a moment ago, and rings while that is awaited; safe in any thread.

    Args:
        clock: Only durations count.
        notifier: Set when a message was sent while there was no instance; the waiting thread clears it.
    """

    def __init__(self, clock: Clock, notifier: threading.Event) -> None:
        self.notifier = notifier
        self._clock = clock
        self._lock = threading.Lock()
        self._is_awaited = False
        self._sent: deque[tuple[float, int]] = deque()

    def sent(self, count: int) -> None:
        """Take note of messages that were sent just now; rings once between two calls of `listen`."""
        with self._lock:
            self._forget()
            self._sent.append((self._clock.now_s(), count))
            rings, self._is_awaited = self._is_awaited, False
        if rings:
            self.notifier.set()

    def lately(self) -> int:
        """Return how many messages were sent in the last seconds, whatever the queue's counts say by now."""
        with self._lock:
            self._forget()
            return sum(count for _, count in self._sent)

    def listen(self, *, is_at_zero: bool) -> None:
        """Say after a tick whether there is no instance, so that the next message is to ring."""
        with self._lock:
            self._is_awaited = is_at_zero

    def _forget(self) -> None:
        since_s = self._clock.now_s() - _KEPT_S
        while self._sent and self._sent[0][0] < since_s:
            self._sent.popleft()
