"""When to look at which job's webhook: the ids in memory, in the order of their times."""

import asyncio
import contextlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from beholder.clock import Clock

__all__ = ["Look", "Looks"]

_KNOWN_MAX = 20_000
_PAUSE_S_MAX = 30.0


@dataclass(slots=True)
class Look:
    """When to look at a job's record next.

    Args:
        at_s: Seconds since the Unix epoch; infinite while something else decides.
        pause_s: The last pause between two looks for an outcome.
        is_under_way: Whether a look goes on.
        is_asked: Whether another look was asked for meanwhile.
        is_urgent: Whether this process takes the delivery over from another one at once.
        is_expected: Whether its job is being submitted.
        is_over: Whether nothing is to be sent any more, and only the record is left to remove.
    """

    at_s: float = math.inf
    pause_s: float = 30.0
    is_under_way: bool = False
    is_asked: bool = False
    is_urgent: bool = False
    is_expected: bool = False
    is_over: bool = False


class Looks:
    """The looks of one deliverer, at most 20,000.

    Where there is no room, the farthest ones are forgotten, since a scan finds their records again.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looks: dict[str, Look] = {}
        self._heap: list[tuple[float, str]] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return how many ids are in memory."""
        return len(self._looks)

    def __contains__(self, job_id: object) -> bool:
        """Return whether a job's id is in memory."""
        return job_id in self._looks

    def get(self, job_id: str) -> Look | None:
        """Return the look of a job; None if its id is not in memory."""
        return self._looks.get(job_id)

    def add(self, job_id: str) -> Look | None:
        """Return the look of a job, made if there is none; None if there is no room for it."""
        if job_id not in self._looks and self.make_room() == 0:
            return None
        return self._looks.setdefault(job_id, Look())

    def make_room(self) -> int:
        """Return for how many more ids there is room; if for none, forget those that are farthest away."""
        if len(self._looks) >= _KNOWN_MAX:
            now_s = self._clock.now_s()
            later = [
                (look.at_s, job_id)
                for job_id, look in self._looks.items()
                if look.at_s > now_s and not (look.is_under_way or look.is_expected or look.is_over)
            ]
            for _, job_id in heapq.nlargest(max(1, _KNOWN_MAX // 10), later):
                del self._looks[job_id]
        return _KNOWN_MAX - len(self._looks)

    def schedule(self, job_id: str, after_s: float = 0.0) -> bool:
        """Look at a job after so many seconds; if a look goes on, once that has ended.

        Returns:
            Whether there is room for it.
        """
        look = self.add(job_id)
        if look is None:
            return False
        if look.is_under_way:
            look.is_asked = True
            return True
        look.at_s = self._clock.now_s() + after_s
        heapq.heappush(self._heap, (look.at_s, job_id))
        self._wake.set()
        return True

    def end(self, job_id: str, after_s: float | None) -> None:
        """End a look.

        Args:
            job_id: The job.
            after_s: Seconds to the next one; None for none, infinite if something else decides.
        """
        look = self._looks[job_id]
        look.is_under_way = False
        if after_s is None:
            del self._looks[job_id]
        elif look.is_asked or after_s < math.inf:
            self.schedule(job_id, 0.0 if look.is_asked else after_s)

    def wake(self) -> None:
        """End `wait`."""
        self._wake.set()

    def take_due(self) -> Iterator[tuple[str, Look]]:
        """Yield the jobs to look at now; each look goes on until `end`."""
        while self._heap and self._heap[0][0] <= self._clock.now_s():
            at_s, job_id = heapq.heappop(self._heap)
            look = self._looks.get(job_id)
            # An id that was scheduled anew is also at its earlier place.
            if look is not None and look.at_s == at_s and not look.is_under_way:
                look.at_s, look.is_under_way, look.is_asked = math.inf, True, False
                yield job_id, look

    async def wait(self, *, is_full: bool) -> None:
        """Wait until something may be due, or, if no more looks may begin, until one has ended."""
        left_s = self._heap[0][0] - self._clock.now_s() if self._heap else _PAUSE_S_MAX
        if is_full:
            await self._wake.wait()
        elif left_s > 0:
            # `asyncio.wait_for` of Python 3.11 can lose the cancelling that ends the loop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _PAUSE_S_MAX)):
                    await self._wake.wait()
        self._wake.clear()
