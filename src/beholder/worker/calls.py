"""The calls that a worker has not told of yet; its next reply tells a web process, which counts them."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping

__all__ = ["UntoldCalls"]


class UntoldCalls:
    """What was called since it was last told; safe to use from several lanes at once.

    Args:
        read: Gives the calls since the process began, by `service:Operation`.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Have told nothing yet."""
        self._read = read
        self._lock = threading.Lock()
        self._told: Counter[str] = Counter()

    def take(self) -> dict[str, int]:
        """Return what is untold, which counts as told from now on."""
        with self._lock:
            untold = {name: count - self._told[name] for name, count in self._read().items()}
            untold = {name: count for name, count in untold.items() if count > 0}
            self._told.update(untold)
            return untold

    def put_back(self, calls: Mapping[str, int]) -> None:
        """Take back what could not be told."""
        with self._lock:
            self._told.subtract(calls)
