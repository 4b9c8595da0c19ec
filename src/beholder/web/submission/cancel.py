"""Cancels jobs: a canceled job has its outcome at once, and what a worker finds later does not count."""

from beholder.clock import Clock
from beholder.errors import JobCanceled
from beholder.job import Failure, Job, JobStatus, read_outcome
from beholder.results.outcomes import store_outcome
from beholder.store.keys import canceled_key
from beholder.store.port import Store
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import Outcome

__all__ = ["JobCanceler"]


class JobCanceler:
    """Writes the outcome of jobs that are canceled; its method blocks, so the web tier calls it in threads.

    Args:
        lookup: Finds jobs.
        results: The output bucket.
        clock: The time.
    """

    def __init__(self, lookup: JobLookup, results: Store, clock: Clock) -> None:
        self._lookup = lookup
        self._results = results
        self._clock = clock

    def cancel(self, job_id: str) -> Outcome | None:
        """Return the outcome that stands: of the cancelling, or an earlier one; None if there is no such job.

        Its message stays in the queue. The mark tells workers to look for an outcome before they run the job;
        if a worker runs it already, the first outcome stands.

        Raises:
            BackendError: A bucket does not answer; the job may be canceled nevertheless.
        """
        found = self._lookup.find(job_id)
        if found is None or isinstance(found, Outcome):
            return found
        error = JobCanceled()
        canceled = Job(
            id=job_id,
            status=JobStatus.CANCELED,
            created_at_s=found.created_at_s,
            input=found.input,
            started_at_s=found.started_at_s,
            completed_at_s=self._clock.now_s(),
            model=found.model,
            model_version=found.model_version,
            error=Failure(error.code, error.http_status, error.message),
        )
        self._results.put(canceled_key(job_id), b"")
        document = store_outcome(self._results, canceled)
        outcome = Outcome(read_outcome(document, job_id=job_id), document)
        if outcome.job.status is not JobStatus.CANCELED:
            self._results.delete(canceled_key(job_id))
        return outcome
