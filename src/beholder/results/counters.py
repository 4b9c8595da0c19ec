"""The calls to AWS that a worker has not reported yet; its next reply carries them to a web process."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping

__all__ = ["UnreportedCounters"]


class UnreportedCounters:
    """The calls since the last report; several consumers may use it at once.

    Args:
        read_totals: Returns the calls since the process began, by `service:Operation`, and the comparisons
            with a shadow, by `shadow:result`.
    """

    def __init__(self, read_totals: Callable[[], Mapping[str, int]]) -> None:
        self._read_totals = read_totals
        self._lock = threading.Lock()
        self._reported: Counter[str] = Counter()

    def take(self) -> dict[str, int]:
        """Return the unreported calls; they count as reported from now on."""
        with self._lock:
            unreported = {name: count - self._reported[name] for name, count in self._read_totals().items()}
            unreported = {name: count for name, count in unreported.items() if count > 0}
            self._reported.update(unreported)
            return unreported

    def put_back(self, calls: Mapping[str, int]) -> None:
        """Count calls as unreported again, because the report could not be sent."""
        with self._lock:
            self._reported.subtract(calls)
