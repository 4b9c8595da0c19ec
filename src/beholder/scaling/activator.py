"""Wakes the controller at once when this web process sends a message while there is no instance.

Without the activator, the first message waits for the next tick and until the queue's counts contain it. Only
the leader's own messages can wake it; it finds those of other web processes in the counts.
"""

import threading
from collections import deque

from beholder.clock import Clock

__all__ = ["Activator"]

# Longer than it takes until a woken controller has launched something, and shorter than the least stay of the
# last worker: a message that such a worker has served does not count as waiting.
_KEPT_S = 10.0


class Activator:
    """Knows what this process sent a moment ago, and notifies while the fleet is at zero; safe in any thread.

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
        """Count messages that were sent just now; notifies once between two calls of `listen`."""
        with self._lock:
            self._forget()
            self._sent.append((self._clock.now_s(), count))
            notifies, self._is_awaited = self._is_awaited, False
        if notifies:
            self.notifier.set()

    def lately(self) -> int:
        """Return how many messages this process sent in the last seconds."""
        with self._lock:
            self._forget()
            return sum(count for _, count in self._sent)

    def listen(self, *, is_at_zero: bool) -> None:
        """Set after a tick whether there is no instance, so that the next message notifies."""
        with self._lock:
            self._is_awaited = is_at_zero

    def _forget(self) -> None:
        since_s = self._clock.now_s() - _KEPT_S
        while self._sent and self._sent[0][0] < since_s:
            self._sent.popleft()
