"""Decides on a retry: which jobs may run again, and the id of the job that does."""

from beholder.errors import ImageGone, JobNotFailed, JobNotFound
from beholder.job import Job, JobStatus
from beholder.job.ids import job_id_from_key
from beholder.web.submission.deletion import is_deleted
from beholder.web.submission.request import Outcome

__all__ = ["RETRYABLE", "failed_job_of", "retry_id"]

RETRYABLE = frozenset({JobStatus.FAILED, JobStatus.EXPIRED})

_CALLER = "retry"


def failed_job_of(found: Outcome | Job | None) -> Job:
    """Return the failed job that is to run again.

    Args:
        found: What the buckets have of the job.

    Raises:
        JobNotFound: There is no such job.
        JobNotFailed: The job is not finished, or has succeeded, or its caller canceled it.
        ImageGone: The outcome names no image.
    """
    if found is None or (isinstance(found, Outcome) and is_deleted(found)):
        raise JobNotFound
    job = found.job if isinstance(found, Outcome) else found
    if job.status not in RETRYABLE:
        raise JobNotFailed(f"the job is {job.status}, and only a job that failed or expired can be retried")
    if job.input is None:
        raise ImageGone
    return job


def retry_id(job: Job) -> str:
    """Return the id of the job that a failed one is retried as, always the same for one failure.

    Its time is that of the failure, so it sorts after the failed job.
    """
    return job_id_from_key(_CALLER, job.id, epoch_s=job.completed_at_s or job.created_at_s)
