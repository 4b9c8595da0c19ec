"""How many deliveries go to one host at once; those beyond wait for the end of another."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator

__all__ = ["HostPlaces"]

_AT_ONCE_MAX = 8
_FAILING_MAX = 10_000


class HostPlaces:
    """The places of each host; a host whose last delivery failed has one, so that dead hosts take few.

    Args:
        resume: Called with the id of a job that waited, when there may be a place.
    """

    def __init__(self, resume: Callable[[str], None]) -> None:
        self._resume = resume
        self._sending: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._waiting: dict[str, deque[str]] = {}

    def is_full(self, host: str) -> bool:
        """Return whether no place is free."""
        return self._free(host) <= 0

    def wait_for(self, host: str, job_id: str) -> None:
        """Have a job resumed when a place is free."""
        self._waiting.setdefault(host, deque()).append(job_id)

    @contextlib.contextmanager
    def taken(self, host: str) -> Iterator[None]:
        """Take a place; resume those who wait for it at the end."""
        self._sending[host] += 1
        try:
            yield
        finally:
            self._sending[host] -= 1
            waiting, free = self._waiting.get(host, deque()), self._free(host)
            while waiting and free > 0:
                self._resume(waiting.popleft())
                free -= 1
            if not waiting:
                self._waiting.pop(host, None)
            if not self._sending[host]:
                del self._sending[host]

    def note(self, host: str, *, is_failing: bool) -> None:
        """Remember whether the last delivery to a host failed."""
        if not is_failing:
            self._failing.discard(host)
        elif len(self._failing) < _FAILING_MAX:
            self._failing.add(host)

    def _free(self, host: str) -> int:
        return (1 if host in self._failing else _AT_ONCE_MAX) - self._sending[host]
