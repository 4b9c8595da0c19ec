"""The requests that wait for replies: a reply wakes its request; without one, the bucket is looked at."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from beholder.errors import Overloaded
from beholder.job import Job

__all__ = ["Outcome", "PendingReplies"]

_FIRST_LOOK_S = 2.0
_LOOK_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job with its outcome, and the document that stands in the output bucket."""

    job: Job
    document: bytes


@dataclass(slots=True)
class _PendingReply:
    future: asyncio.Future[Outcome]
    look_at_s: float
    look_again_s: float = _FIRST_LOOK_S


class PendingReplies:
    """The requests of one event loop that wait for their job; used from that loop only.

    Args:
        count_max: How many may wait at once.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._waiting: dict[str, list[_PendingReply]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    def expect(self, job_id: str, now_s: float, *, retry_after_s: int = 1) -> asyncio.Future[Outcome]:
        """Return what will hold the job's outcome; call it before the job's message is sent.

        Args:
            job_id: The job.
            now_s: The time.
            retry_after_s: When another try is worth while, where as many wait already as may.

        Raises:
            Overloaded: As many wait already as may.
        """
        if self._count >= self._count_max:
            raise Overloaded(
                f"{self._count_max} requests wait for their answer already; "
                "try again, or send Prefer: respond-async and fetch the job later",
                retry_after_s=retry_after_s,
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, []).append(_PendingReply(future, now_s + _FIRST_LOOK_S))
        self._count += 1
        return future

    def forget(self, job_id: str, future: asyncio.Future[Outcome]) -> None:
        """Wait for this no more; others who wait for the same job go on."""
        waiting = self._waiting.get(job_id, [])
        kept = [one for one in waiting if one.future is not future]
        self._count -= len(waiting) - len(kept)
        if kept:
            self._waiting[job_id] = kept
        else:
            self._waiting.pop(job_id, None)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Wake those who wait for these jobs; a job that nobody waits for is ignored."""
        for outcome in outcomes:
            waiting = self._waiting.pop(outcome.job.id, [])
            self._count -= len(waiting)
            for one in waiting:
                if not one.future.done():
                    one.future.set_result(outcome)

    def release(self) -> None:
        """Wake all who wait without an outcome, as if their time were over."""
        for waiting in self._waiting.values():
            for one in waiting:
                if not one.future.done():
                    one.future.cancel()

    def due(self, now_s: float, *, count_max: int) -> list[str]:
        """Return the jobs whose result should be looked for now; each comes up less and less often."""
        found = []
        for job_id, (waiter, *_) in self._waiting.items():
            if waiter.look_at_s <= now_s:
                waiter.look_again_s = min(waiter.look_again_s * 2, _LOOK_MAX_S)
                waiter.look_at_s = now_s + waiter.look_again_s
                found.append(job_id)
                if len(found) == count_max:
                    break
        return found
