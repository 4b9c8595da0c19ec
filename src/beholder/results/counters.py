"""The calls that a worker has not told of yet; its next reply tells a web process, which counts them."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping

__all__ = ["UnreportedCounters"]


class UnreportedCounters:
    """What was called since it was last told; safe to use from several consumers at once.

    Args:
        read: Gives the calls since the process began, by `service:Operation`.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._told: Counter[str] = Counter()

    def take(self) -> dict[str, int]:
        """Return what is untold, which counts as told from now on."""
        with self._lock:
            unreported = {name: count - self._told[name] for name, count in self._read().items()}
            unreported = {name: count for name, count in unreported.items() if count > 0}
            self._told.update(unreported)
            return unreported

    def put_back(self, calls: Mapping[str, int]) -> None:
        """Take back what could not be told."""
        with self._lock:
            self._told.subtract(calls)
