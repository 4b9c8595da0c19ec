"""The submission service: admits a checked image, stores it and sends its message; every route uses it."""

import asyncio
from dataclasses import replace

from beholder.job import Job
from beholder.queue.port import Priority
from beholder.web.ports import WebPorts
from beholder.web.submission.admission import Admission
from beholder.web.submission.batcher import Batcher
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob, SubmissionRequest
from beholder.web.submission.submitter import Submitter

__all__ = ["SubmissionService"]


class SubmissionService:
    """Turns submission requests into jobs.

    Args:
        ports: What the web tier works with.
        admission: Decides whether one more job is accepted.
        pending_replies: The requests that wait for an outcome.
        lookup: Finds the outcome of an earlier job of the same idempotency key.
    """

    def __init__(
        self, ports: WebPorts, admission: Admission, pending_replies: PendingReplies, lookup: JobLookup
    ) -> None:
        self._admission = admission
        self._pending_replies = pending_replies
        self._telemetry = ports.telemetry
        self._pending_max = ports.limits.waiters_max
        self._submitter = Submitter(ports, lookup)
        self._batcher = Batcher(
            self._submitter.submit,
            threads=ports.submit_threads,
            batch_max=ports.submit_batch_max,
            gather_s=ports.submit_gather_s,
        )

    def start(self) -> None:
        """Start the threads that store images."""
        self._batcher.start()

    def close(self) -> None:
        """Submit what is waiting, and end the threads."""
        self._batcher.close()

    async def submit(self, request: SubmissionRequest, wait_s: float) -> PendingJob | Outcome:
        """Submit one image; when this returns, the job is durable.

        Args:
            request: The image and its options.
            wait_s: How long the caller waits for the outcome; 0 if it does not wait.

        Returns:
            The new job, or the outcome of the finished job with the same idempotency key.

        Raises:
            Overloaded: The backlog is full, or too many requests wait.
            IdempotencyKeyInUse: The job with the same key is not finished.
            IdempotencyKeyReused: The job with the same key has another image or other options.
            BackendError: The image was not stored, or its message was not sent.
        """
        job_id = self._submitter.new_job_id(request)
        with self._admission.admit(job_id, wait_s) as is_interactive:
            submission = replace(request, priority=_priority(request, is_interactive=is_interactive))
            # Registered before the message is sent: the reply may arrive before the thread returns.
            future = self._expect(job_id) if wait_s > 0 else None
            submitted: Job | Outcome | None = None
            try:
                submitted = await self._batcher.submit(job_id, submission)
            finally:
                if future is not None and not isinstance(submitted, Job):
                    self._pending_replies.forget(job_id, future)
        if isinstance(submitted, Outcome):
            return submitted
        self._telemetry.jobs.labels("queued").inc()
        return PendingJob(submitted, future)

    def _expect(self, job_id: str) -> asyncio.Future[Outcome]:
        # By then a tenth of the waiting requests is answered.
        retry_after_s = self._admission.seconds_for(self._pending_max / 10)
        return self._pending_replies.expect(job_id, retry_after_s=retry_after_s)


def _priority(request: SubmissionRequest, *, is_interactive: bool) -> Priority:
    urgency = Priority.INTERACTIVE if is_interactive else Priority.ASYNCHRONOUS
    return urgency | Priority.HEAVY if request.is_heavy else urgency
