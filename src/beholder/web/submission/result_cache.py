"""The results that this process remembers by image, model and options, and the jobs that will have one."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from beholder.job import Job, JobStatus
from beholder.web.submission.request import Outcome, SubmissionRequest

__all__ = ["ResultCache", "cache_key"]

# A larger image is hashed in a thread: a millisecond for each 1.5 MB.
_LOOP_BYTES_MAX = 1_000_000
# An answer with all classes takes as much memory as a hundred usual ones.
_LABELS_MAX = 100


class ResultCache:
    """Remembers results; those that were asked for longest ago are forgotten first. Used from one event loop.

    Args:
        count_max: How many results are remembered.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()
        self._keys: OrderedDict[str, Hashable] = OrderedDict()
        self._running: dict[Hashable, Job] = {}

    def find(self, key: Hashable) -> Job | None:
        """Return the job whose result is remembered under a key; None if there is none."""
        job = self._jobs.get(key)
        if job is not None:
            self._jobs.move_to_end(key)
        return job

    def running(self, key: Hashable) -> Job | None:
        """Return the unfinished job whose result will be remembered under a key; None if there is none."""
        return self._running.get(key)

    def expect(self, key: Hashable, job_id: str) -> None:
        """Remember the result of a job under a key once it has one; call this before its message is sent."""
        self._keys[job_id] = key
        if len(self._keys) > self._count_max:
            self.forget(next(iter(self._keys)))

    def accepted(self, job: Job) -> None:
        """Take note that an expected job is accepted: others may wait for it until it is settled."""
        key = self._keys.get(job.id)
        if key is not None:
            self._running[key] = job

    def forget(self, job_id: str) -> Hashable:
        """Expect a job no longer; return its key, None if it was not expected."""
        key = self._keys.pop(job_id, None)
        running = self._running.get(key)
        if running is not None and running.id == job_id:
            del self._running[key]
        return key

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Take the results of expected jobs; a job without a result is forgotten."""
        for job in (outcome.job for outcome in outcomes):
            key = self.forget(job.id)
            # An embedding takes as much memory as all classes.
            is_large = len(job.labels) > _LABELS_MAX or (job.result is not None and job.result.embedding)
            if key is None or job.status != JobStatus.SUCCEEDED or is_large:
                continue
            self._jobs[key] = job
            if len(self._jobs) > self._count_max:
                self._jobs.popitem(last=False)


async def cache_key(request: SubmissionRequest) -> Hashable:
    """Return what the results of two requests have in common if they are the same."""
    hashed = hashlib.sha256
    if len(request.data) > _LOOP_BYTES_MAX:
        digest = (await asyncio.to_thread(hashed, request.data)).digest()
    else:
        digest = hashed(request.data).digest()
    return digest, request.model, replace(request.options, model=None)
