"""How many deliveries go to one host at once; those beyond wait for the end of another."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

__all__ = ["HostPlaces"]

_AT_ONCE_MAX = 8
_FAILING_MAX = 10_000


class HostPlaces:
    """The places of each host; a host whose last delivery failed has one, so that dead hosts take few.

    Args:
        resume: Called with the id of a job that waited, when there may be a place; returns whether it comes.
    """

    def __init__(self, resume: Callable[[str], bool]) -> None:
        self._resume = resume
        self._sending: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._waiting: dict[str, dict[str, None]] = {}  # in the order in which they came
        self._resumed: dict[str, str] = {}

    def is_full(self, host: str) -> bool:
        """Return whether no place is free."""
        return self._free(host) <= 0

    def wait_for(self, host: str, job_id: str) -> None:
        """Have a job resumed when a place is free."""
        self._waiting.setdefault(host, {})[job_id] = None

    def pass_on(self, job_id: str) -> None:
        """Resume the next one if a job was resumed and took no place: it may be delivered or deleted."""
        host = self._resumed.pop(job_id, None)
        if host is not None:
            self._resume_next(host)

    @contextlib.contextmanager
    def taken(self, host: str, job_id: str) -> Iterator[None]:
        """Take a place for a job; resume those who wait for it at the end."""
        self._resumed.pop(job_id, None)
        self._sending[host] += 1
        try:
            yield
        finally:
            self._sending[host] -= 1
            self._resume_next(host)
            if not self._sending[host]:
                del self._sending[host]

    def _resume_next(self, host: str) -> None:
        waiting = self._waiting.get(host, {})
        free = self._free(host) - sum(one == host for one in self._resumed.values())
        for job_id in list(itertools.islice(waiting, max(0, free))):
            del waiting[job_id]
            if self._resume(job_id):
                self._resumed[job_id] = host
        if not waiting:
            self._waiting.pop(host, None)

    def note(self, host: str, *, is_failing: bool) -> None:
        """Remember whether the last delivery to a host failed."""
        if not is_failing:
            self._failing.discard(host)
        elif len(self._failing) < _FAILING_MAX:
            self._failing.add(host)

    def _free(self, host: str) -> int:
        return (1 if host in self._failing else _AT_ONCE_MAX) - self._sending[host]
