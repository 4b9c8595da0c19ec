"""Which of the received jobs have their outcome already, since they were canceled: they need not run.

Web processes leave a mark for each job before they cancel it. The marks are a hint, and the outcome decides.
"""

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

from beholder.clock import Clock, age_s
from beholder.errors import BackendError
from beholder.job import Message
from beholder.store.keys import CANCELED, canceled_key
from beholder.store.port import Store
from beholder.store.recovery import has_outcome
from beholder.telemetry.log import log_event

__all__ = ["Cancellations"]

_log = logging.getLogger(__name__)

# One LIST of S3 returns so many.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, MaxKeys (2026-11)
_MARKS_MAX = 1000
# A mark whose job has no message any more, such as one that a worker could not delete, stays so long.
_MARK_S_MAX = 86_400.0


class Cancellations:
    """The marks of canceled jobs, as one worker knows them; its consumers share it.

    Args:
        results: The output bucket.
        clock: The time.
        every_s: The marks are listed no more often, and only for a message that has waited so long.
    """

    def __init__(self, results: Store, clock: Clock, every_s: float) -> None:
        self._results = results
        self._clock = clock
        self._every_s = every_s
        self._listed_at_s = float("-inf")
        self._marked: frozenset[str] = frozenset()

    def among(self, messages: Sequence[Message]) -> frozenset[str]:
        """Return the ids of the jobs that are marked and have their outcome."""
        now_s = self._clock.now_s()
        is_due = not 0 <= now_s - self._listed_at_s < self._every_s
        if is_due and any(age_s(now_s, message.created_at_s) >= self._every_s for message in messages):
            self._list(now_s)
        marked = self._marked.intersection(message.job_id for message in messages)
        return frozenset(job_id for job_id in marked if has_outcome(self._results, job_id))

    def note(self, job_ids: Iterable[str]) -> None:
        """Take note of jobs that were canceled while they ran, so that their marks are deleted, too."""
        self._marked = self._marked.union(job_ids)

    def forget(self, job_ids: Iterable[str]) -> None:
        """Delete the marks of jobs whose messages are acknowledged."""
        self._delete(sorted(self._marked.intersection(job_ids)))

    def _list(self, now_s: float) -> None:
        self._listed_at_s = now_s
        try:
            found = list(islice(self._results.list(CANCELED), _MARKS_MAX))
        except BackendError as exc:
            log_event(_log, logging.WARNING, "worker.marks_unread", exc.message)
            return
        old = {one.key for one in found if age_s(now_s, one.stored_at_s) > _MARK_S_MAX}
        self._marked = frozenset(one.key.removeprefix(CANCELED) for one in found)
        self._delete([key.removeprefix(CANCELED) for key in sorted(old)])

    def _delete(self, job_ids: Sequence[str]) -> None:
        try:
            for job_id in job_ids:
                self._results.delete(canceled_key(job_id))
        except BackendError as exc:
            log_event(_log, logging.WARNING, "worker.mark_left", exc.message)
        self._marked = self._marked.difference(job_ids)
