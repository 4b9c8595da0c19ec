"""The submission service: admits a checked image, stores it and sends its message; every route uses it."""

import asyncio
from dataclasses import replace

from beholder.job import Job, JobStatus, new_job_id
from beholder.queue.port import Priority
from beholder.web.ports import WebPorts
from beholder.web.submission.admission import Admission
from beholder.web.submission.batcher import Batcher
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob, SubmissionRequest
from beholder.web.submission.result_cache import ResultCache, cache_key
from beholder.web.submission.submitter import Submitter
from beholder.web.webhooks.deliverer import WebhookDeliverer
from beholder.web.webhooks.record import Webhook

__all__ = ["SubmissionService"]


class SubmissionService:
    """Turns submission requests into jobs.

    Args:
        ports: What the web tier works with.
        admission: Decides whether one more job is accepted.
        pending_replies: The requests that wait for an outcome.
        lookup: Finds the outcome of an earlier job of the same idempotency key.
        webhooks: Delivers webhooks; None if there are none.
        cache: Remembers results; None if each image is recognised anew.
    """

    def __init__(
        self,
        ports: WebPorts,
        admission: Admission,
        pending_replies: PendingReplies,
        lookup: JobLookup,
        *,
        webhooks: WebhookDeliverer | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self._cache = cache
        self._webhooks = webhooks
        self._admission = admission
        self._pending_replies = pending_replies
        self._telemetry = ports.telemetry
        self._clock = ports.clock
        self._pending_max = ports.limits.waiters_max
        self._submitter = Submitter(ports, lookup)
        self._batcher = Batcher(
            self._submitter.submit,
            threads=ports.submit_threads,
            batch_max=ports.submit_batch_max,
            gather_s=ports.submit_gather_s,
            loop_bytes_max=ports.submit_loop_bytes_max,
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
        # The webhook of a job tells of each of its states, and a finished job has passed none.
        job_id = self._submitter.new_job_id(request)
        if self._cache is None or not request.is_cacheable or request.webhook is not None:
            return await self._submit(job_id, request, wait_s)
        key = await cache_key(request)
        found, kind = self._cache.find(key), "hit"
        running = self._cache.running(key)
        if found is None and running is not None and wait_s > 0:
            kind, expected = "shared", self._expect(running.id)
            outcome = await self._pending_replies.wait(PendingJob(running, expected), wait_s)
            if outcome is None:  # so is the caller's patience
                wait_s = 0.0
            elif outcome.job.status == JobStatus.SUCCEEDED:
                found = outcome.job
        self._telemetry.result_cache.labels("miss" if found is None else kind).inc()
        if found is not None:
            return await self._finish(job_id, replace(request, recognised=found))
        self._cache.expect(key, job_id)
        submitted: PendingJob | Outcome | None = None
        try:
            submitted = await self._submit(job_id, request, wait_s)
        finally:
            if isinstance(submitted, PendingJob):
                self._cache.accepted(submitted.job)
            else:
                self._cache.forget(job_id)
        return submitted

    async def _finish(self, job_id: str, request: SubmissionRequest) -> PendingJob | Outcome:
        """Make a job that is finished by what was recognised before; it needs no worker, and no admission."""
        finished = await self._batcher.submit(job_id, request)
        if isinstance(finished, Job):
            return PendingJob(finished, None)
        self._telemetry.job_done(finished.job)
        return finished

    async def _submit(self, job_id: str, request: SubmissionRequest, wait_s: float) -> PendingJob | Outcome:
        with self._admission.admit(job_id, wait_s) as is_interactive:
            submission = replace(request, priority=_priority(request, is_interactive=is_interactive))
            # Registered before the message is sent: the reply may arrive before the thread returns.
            future = self._expect(job_id) if wait_s > 0 else None
            submitted: Job | Outcome | None = None
            try:
                if request.webhook is None or self._webhooks is None:
                    submitted = await self._batcher.submit(job_id, submission)
                else:
                    submitted = await self._submit_with(self._webhooks, job_id, submission, request.webhook)
            finally:
                if future is not None and not isinstance(submitted, Job):
                    self._pending_replies.forget(job_id, future)
        if isinstance(submitted, Outcome):
            return submitted
        self._telemetry.jobs.labels("queued").inc()
        return PendingJob(submitted, future)

    async def _submit_with(
        self, webhooks: WebhookDeliverer, job_id: str, request: SubmissionRequest, webhook: Webhook
    ) -> Job | Outcome:
        """Submit a request with a webhook, which the outcome may need before this returns."""
        webhook = replace(webhook, id=f"msg_{new_job_id(self._clock.now_s())}")
        webhooks.expect(job_id)
        submitted = None
        try:
            submitted = await self._batcher.submit(job_id, replace(request, webhook=webhook))
        finally:
            if isinstance(submitted, Job):
                webhooks.accepted(submitted, webhook)
            else:
                webhooks.not_accepted(job_id)
        return submitted

    def _expect(self, job_id: str) -> asyncio.Future[Outcome]:
        # By then a tenth of the waiting requests is answered.
        retry_after_s = self._admission.seconds_for(self._pending_max / 10)
        return self._pending_replies.expect(job_id, retry_after_s=retry_after_s)


def _priority(request: SubmissionRequest, *, is_interactive: bool) -> Priority:
    urgency = Priority.INTERACTIVE if is_interactive else Priority.ASYNCHRONOUS
    return urgency | Priority.HEAVY if request.is_heavy else urgency
