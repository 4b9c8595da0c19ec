"""Deletes jobs: nothing of a deleted job is left but an outcome that says so."""

import json

from beholder.clock import Clock
from beholder.errors import JobDeleted
from beholder.job import Failure, Job, JobStatus
from beholder.store.keys import (
    dead_letter_key,
    image_prefix,
    kept_webhook_key,
    resent_key,
    result_key,
    text_key,
    webhook_key,
)
from beholder.store.port import Store
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.request import Outcome

__all__ = ["JobDeleter", "is_deleted"]

_KEYS = (dead_letter_key, resent_key, text_key, webhook_key, kept_webhook_key)


class JobDeleter:
    """Deletes what the buckets hold of jobs; its method blocks, so the web tier calls it in threads.

    Args:
        canceler: Cancels unfinished jobs.
        images: The input bucket.
        results: The output bucket.
        clock: The time.
    """

    def __init__(self, canceler: JobCanceler, images: Store, results: Store, clock: Clock) -> None:
        self._canceler = canceler
        self._images = images
        self._results = results
        self._clock = clock

    def delete(self, job_id: str) -> Outcome | None:
        """Delete a job; if it was deleted before, finish that. Return None if there is no such job.

        The deleted outcome comes first: from then on no lookup finds the job, and no worker stores a result.

        Raises:
            BackendError: A bucket does not answer; delete the job again.
        """
        standing = self._canceler.cancel(job_id)
        if standing is None:
            return None
        error = JobDeleted()
        deleted = Job(
            id=job_id,
            status=JobStatus.CANCELED,
            created_at_s=standing.job.created_at_s,
            completed_at_s=self._clock.now_s(),
            error=Failure(error.code, error.http_status, error.message),
        )
        document = json.dumps(deleted.to_dict()).encode()
        self._results.put(result_key(job_id), document)
        for image in self._images.list(image_prefix(job_id)):
            self._images.delete(image.key)
        for key_of in _KEYS:
            self._results.delete(key_of(job_id))
        return Outcome(deleted, document)


def is_deleted(outcome: Outcome) -> bool:
    """Return whether an outcome says that its job was deleted."""
    return outcome.job.error is not None and outcome.job.error.code == JobDeleted.code
