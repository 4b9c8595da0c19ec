"""The submission service: one image in, one answer out. Every upload of every interface passes here."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from starlette.requests import Request

from beholder.errors import BackendError
from beholder.job import Job
from beholder.model.decode.cost import decode_cost_pixels
from beholder.model.decode.header import ImageHeader
from beholder.queue.port import Priority
from beholder.telemetry.log import get_logger, log_event
from beholder.web.ports import WebPorts
from beholder.web.submission.admission import Admission
from beholder.web.submission.batcher import Batcher
from beholder.web.submission.mistakes import check_image, naming_coding
from beholder.web.submission.pending import Outcome, PendingReplies
from beholder.web.submission.submitter import SubmissionRequest, Submitter
from beholder.web.submission.upload import Upload, UploadBudget, read_body, read_upload

__all__ = ["PendingJob", "RequestReader", "SubmissionService"]

_log = get_logger(__name__)

_LARGE_BYTES = 1_000_000
_SWEEP_S = 0.5
_LOOKS_PER_SWEEP = 100

RequestReader = Callable[[Upload], SubmissionRequest]


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that was taken in, and what will hold its outcome where somebody waits."""

    job: Job
    future: asyncio.Future[Outcome] | None


class SubmissionService:
    """Takes orders, and waits with those who wait.

    Args:
        ports: What the web tier works with.
        pending_replies: Who waits.
        admission: Whether one more job is taken in.
    """

    def __init__(self, ports: WebPorts, pending_replies: PendingReplies, admission: Admission) -> None:
        self.ports = ports
        self.pending_replies = pending_replies
        self.admission = admission
        self.submitter = Submitter(ports)
        self._is_released = False
        # In the line, by job, of as many as can wait: the oldest are forgotten.
        self._places: dict[str, float] = {}
        self._budget = UploadBudget(
            ports.limits.uploads_bytes_max,
            ports.telemetry,
            asynchronous_share=ports.limits.asynchronous_share,
        )
        self._batcher = Batcher(
            self.submitter.accept,
            threads=ports.accept_threads,
            batch_max=ports.accept_batch_max,
            gather_s=ports.accept_gather_s,
        )
        # Looks at the bucket block for long where the bucket is far away, so they have a thread of their own.
        self._lookers = ThreadPoolExecutor(2, thread_name_prefix="look")

    def release(self) -> None:
        """Answer all who wait with what is known now, for a process that must end."""
        self._is_released = True
        self.pending_replies.release()

    def start(self) -> None:
        """Start the threads that store images."""
        self._batcher.start()

    def close(self) -> None:
        """Let the threads go."""
        self._batcher.close()
        self._lookers.shutdown()

    async def accept(
        self, request: Request, submission_of: RequestReader, *, wait_s: float
    ) -> PendingJob | Outcome:
        """Take one request's image in; when this returns, it is durable and no longer in memory.

        Args:
            request: The exchange.
            submission_of: Makes an order of the upload; raises RequestError.
            wait_s: How long the caller is going to wait for the outcome; 0 for not at all.

        Returns:
            A ticket for a new job, or the outcome of the one that the idempotency key names.
        """
        limits = self.ports.limits
        with self._budget.hold(waits=wait_s > 0) as hold:
            body = await read_body(request, limits, hold)
            with naming_coding(request.headers.get("content-encoding", "")):
                if len(body) > _LARGE_BYTES:
                    # A form of many megabytes takes tenths of a second; the event loop serves others.
                    upload = await asyncio.to_thread(read_upload, request, limits, body)
                else:
                    upload = read_upload(request, limits, body)
                del body
                header = check_image(upload, limits.image)
            is_interactive = self.admission.is_interactive(wait_s)
            priority = self._priority_of(header, upload.data, is_interactive=is_interactive)
            submission = replace(submission_of(upload), priority=priority)
            del upload
            with self.admission.admit(waits=is_interactive):
                return await self._store(submission, waits=wait_s > 0)

    async def wait(self, pending_job: PendingJob, wait_s: float) -> Outcome | None:
        """Return the outcome of a ticket's job, or None where it does not come within `wait_s`."""
        if pending_job.future is None:
            return None
        try:
            return await asyncio.wait_for(pending_job.future, wait_s)
        except TimeoutError:
            return await self._last_look(pending_job.job.id)
        except asyncio.CancelledError:
            if not pending_job.future.cancelled() or not self._is_released:
                raise
            return None
        finally:
            self.pending_replies.forget(pending_job.job.id, pending_job.future)

    async def _last_look(self, job_id: str) -> Outcome | None:
        """Look whether the outcome is there though its reply did not come."""
        try:
            return await asyncio.to_thread(self.submitter.look, job_id)
        except BackendError:
            return None

    async def _store(self, submission: SubmissionRequest, *, waits: bool) -> PendingJob | Outcome:
        job_id = self.submitter.new_job_id(submission)
        now_s = self.ports.clock.now_s()
        # Before the message is sent: its reply may be here before the thread is back.
        future = self._expect(job_id, now_s) if waits else None
        taken_in = False
        try:
            accepted = await self._batcher.accept(job_id, submission)
            taken_in = isinstance(accepted, Job)
        finally:
            if future is not None and not taken_in:
                self.pending_replies.forget(job_id, future)
        if isinstance(accepted, Outcome):
            return accepted
        self.ports.telemetry.jobs.labels("queued").inc()
        self._places[job_id] = self.admission.place(waits=Priority.INTERACTIVE in submission.priority)
        if len(self._places) > self.ports.limits.backlog_max:
            del self._places[next(iter(self._places))]
        return PendingJob(accepted, future)

    def _priority_of(self, header: ImageHeader, data: bytes, *, is_interactive: bool) -> Priority:
        is_heavy = decode_cost_pixels(header, len(data)) >= self.ports.limits.heavy_pixels_min
        return (Priority.INTERACTIVE if is_interactive else Priority.ASYNCHRONOUS) | (
            Priority.HEAVY if is_heavy else Priority.ASYNCHRONOUS
        )

    def retry_after_s(self, job_id: str) -> int:
        """Return the seconds after which a job's outcome is worth a look; 1 for one of another process."""
        return self.admission.retry_after_s(self._places.get(job_id, 0.0))

    def _expect(self, job_id: str, now_s: float) -> asyncio.Future[Outcome]:
        # A tenth of those who wait are answered by then.
        tenth = self.ports.limits.waiters_max / 10
        return self.pending_replies.expect(job_id, now_s, retry_after_s=self.admission.seconds_for(tenth))

    async def look(self, job_id: str) -> Outcome | Job | None:
        """Return what the buckets know of a job."""
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._lookers, self.submitter.look, job_id)
        if outcome is not None:
            return outcome
        return await loop.run_in_executor(self._lookers, self.submitter.find, job_id)

    async def sweep(self) -> None:
        """Look into the bucket for those whose reply is late, again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            for job_id in self.pending_replies.due(self.ports.clock.now_s(), count_max=_LOOKS_PER_SWEEP):
                try:
                    outcome = await loop.run_in_executor(self._lookers, self.submitter.look, job_id)
                except (BackendError, ValueError) as exc:  # the next look may find more; others wait too
                    log_event(_log, logging.WARNING, "submission.look_failed", str(exc), job_id=job_id)
                    continue
                if outcome is not None:
                    self.pending_replies.settle([outcome])
