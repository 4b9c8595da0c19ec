"""Wakes the controller at once when this web process sends a message while there is no instance.

Without the activator, the first message waits for the next tick and until the queue's counts contain it. Only
the leader's own messages can wake it; it finds those of other web processes in the counts.
"""

import threading

__all__ = ["Activator"]


class Activator:
    """Counts what this process sends, and notifies while the fleet is at zero; safe in any thread.

    Args:
        notifier: Set when a message was sent while there was no instance; the waiting thread clears it.
    """

    def __init__(self, notifier: threading.Event) -> None:
        self.notifier = notifier
        self._lock = threading.Lock()
        self._is_awaited = False
        self._sent_count = 0

    def sent(self, count: int) -> None:
        """Count messages that were sent just now; notifies once between two calls of `listen`."""
        with self._lock:
            self._sent_count += count
            notifies, self._is_awaited = self._is_awaited, False
        if notifies:
            self.notifier.set()

    @property
    def sent_count(self) -> int:
        """How many messages this process has sent so far."""
        return self._sent_count

    def listen(self, *, is_at_zero: bool) -> None:
        """Set after a tick whether there is no instance, so that the next message notifies."""
        with self._lock:
            self._is_awaited = is_at_zero
