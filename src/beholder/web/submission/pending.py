"""The requests that wait for an outcome: a reply wakes them, or else a lookup in the output bucket."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from beholder.clock import Clock
from beholder.errors import BackendError, Overloaded
from beholder.telemetry.log import log_event
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import Outcome, PendingJob

__all__ = ["PendingReplies"]

_log = logging.getLogger(__name__)

_FIRST_LOOKUP_S = 2.0
_LOOKUP_MAX_S = 30.0
_SWEEP_S = 0.5
# By then the caller has waited for all of its time.
_LAST_LOOKUP_S_MAX = 2.0
_LOOKUPS_PER_SWEEP = 100


@dataclass(slots=True)
class _PendingReply:
    future: asyncio.Future[Outcome]
    lookup_at_s: float
    pause_s: float = _FIRST_LOOKUP_S


class PendingReplies:
    """The waiting requests of one event loop, by job; used from that loop only.

    Args:
        count_max: How many may wait at once.
        lookup: Finds an outcome whose reply does not come.
        clock: The time.
        on_settled: Each is called with all outcomes that become known, also where no request waits.
    """

    def __init__(
        self,
        count_max: int,
        lookup: JobLookup,
        clock: Clock,
        *,
        on_settled: Sequence[Callable[[Sequence[Outcome]], None]] = (),
    ) -> None:
        self._on_settled = on_settled
        self._count_max = count_max
        self._lookup = lookup
        self._clock = clock
        self._pending: dict[str, list[_PendingReply]] = {}
        self._count = 0
        self._is_released = False
        self._has_pending = asyncio.Event()

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._count

    def expect(self, job_id: str, *, retry_after_s: int = 1) -> asyncio.Future[Outcome]:
        """Return the future of the job's outcome; call this before the job's message is sent.

        Args:
            job_id: The job.
            retry_after_s: The Retry-After of a refusal, in seconds.

        Raises:
            Overloaded: `count_max` requests wait already.
        """
        if self._count >= self._count_max:
            raise Overloaded(
                f"{self._count_max} requests wait for their outcomes already; "
                "try again, or send Prefer: respond-async and fetch the job later",
                retry_after_s=retry_after_s,
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        lookup_at_s = self._clock.now_s() + _FIRST_LOOKUP_S
        self._pending.setdefault(job_id, []).append(_PendingReply(future, lookup_at_s))
        self._count += 1
        self._has_pending.set()
        return future

    async def wait(self, pending_job: PendingJob, wait_s: float) -> Outcome | None:
        """Return the job's outcome; None if it does not come within `wait_s`."""
        future = pending_job.future
        if future is None:
            return None
        try:
            return await asyncio.wait_for(future, wait_s)
        except TimeoutError:
            return await self._last_lookup(pending_job.job.id)
        except asyncio.CancelledError:
            if not future.cancelled() or not self._is_released:
                raise
            return None
        finally:
            self.forget(pending_job.job.id, future)

    def present(self, pending_job: PendingJob) -> PendingJob:
        """Return a job whose outcome did not come in time as it is now: a worker may have it."""
        if pending_job.future is None:
            return pending_job
        return replace(pending_job, job=self._lookup.now(pending_job.job))

    def forget(self, job_id: str, future: asyncio.Future[Outcome]) -> None:
        """Remove one waiting request; others continue to wait for the same job."""
        pending = self._pending.get(job_id, [])
        kept = [one for one in pending if one.future is not future]
        self._count -= len(pending) - len(kept)
        if kept:
            self._pending[job_id] = kept
        else:
            self._pending.pop(job_id, None)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Wake the requests that wait for these jobs; a job for which no request waits is ignored."""
        for outcome in outcomes:
            pending = self._pending.pop(outcome.job.id, [])
            self._count -= len(pending)
            for one in pending:
                if not one.future.done():
                    one.future.set_result(outcome)
        for call in self._on_settled:
            call(outcomes)

    def release(self) -> None:
        """Wake all waiting requests without an outcome, as if their waits were over; the process ends."""
        self._is_released = True
        for pending in self._pending.values():
            for one in pending:
                if not one.future.done():
                    one.future.cancel()

    async def sweep(self, lookups: Executor) -> None:
        """Look up the jobs whose reply is late, again and again until cancelled.

        Args:
            lookups: Runs the lookups, which block.
        """
        while True:
            if not self._pending:
                self._has_pending.clear()
            await self._has_pending.wait()
            await asyncio.sleep(_SWEEP_S)
            for job_id in self.due(count_max=_LOOKUPS_PER_SWEEP):
                try:
                    outcome = await bounded(lookups, LOOKUP_S_MAX, self._lookup.outcome, job_id)
                except (BackendError, ValueError) as exc:  # the next lookup may succeed
                    log_event(_log, logging.WARNING, "submission.lookup_failed", str(exc), job_id=job_id)
                    continue
                if outcome is not None:
                    self.settle([outcome])

    def due(self, *, count_max: int) -> list[str]:
        """Return the jobs to look up now; each job's lookups become less frequent."""
        now_s = self._clock.now_s()
        found = []
        for job_id, (first, *_) in self._pending.items():
            if first.lookup_at_s <= now_s:
                first.pause_s = min(first.pause_s * 2, _LOOKUP_MAX_S)
                first.lookup_at_s = now_s + first.pause_s
                found.append(job_id)
                if len(found) == count_max:
                    break
        return found

    async def _last_lookup(self, job_id: str) -> Outcome | None:
        try:
            return await bounded(None, _LAST_LOOKUP_S_MAX, self._lookup.outcome, job_id)
        except BackendError:
            return None
