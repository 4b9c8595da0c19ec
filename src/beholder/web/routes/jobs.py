"""The routes of jobs: a POST of an image makes a job and answers with its outcome; a GET returns the job."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from beholder.clock import Clock
from beholder.errors import JobNotFound
from beholder.job import Job, is_job_id
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.routes.parameters import CLASSIFY, UPLOAD, RequestParameters, read_prefer
from beholder.web.routes.responses import accepted_response, job_response, outcome_response
from beholder.web.submission.admission import Admission
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob, SubmissionRequest
from beholder.web.submission.service import SubmissionService
from beholder.web.submission.upload import UploadBudget, read_upload

__all__ = ["ImageRoutes", "JobRoutes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRoutes:
    """The endpoints that take an image: `/v1/classify`, and `/upload` and `/` for the classic clients.

    Args:
        budget: The bytes of uploads that may be in memory.
        submissions: Turns images into jobs.
        pending_replies: Waits for outcomes.
        admission: Computes when to ask for a job again.
        models: Every model served.
        limits: What a request may ask for.
        clock: The time.
    """

    budget: UploadBudget
    submissions: SubmissionService
    pending_replies: PendingReplies
    admission: Admission
    models: tuple[ServedModel, ...]
    limits: WebLimits
    clock: Clock

    async def classify(self, request: Request) -> Response:
        """`POST /v1/classify`: the job object, with its result if that comes in time."""
        prefer = read_prefer(request.headers.getlist("prefer"), self.limits)
        outcome = await self._outcome_of(request, CLASSIFY, prefer.wait_s)
        headers = {"Preference-Applied": prefer.applied} if prefer.applied else {}
        if isinstance(outcome, PendingJob):
            return self._accepted(outcome.job, headers)
        return outcome_response(outcome, request, headers)

    async def upload(self, request: Request) -> Response:
        """`POST /upload` and `POST /`: the best label as plain text, as the classic clients expect."""
        outcome = await self._outcome_of(request, UPLOAD, self.limits.wait_s_default, is_classic=True)
        if isinstance(outcome, PendingJob):
            return self._accepted(outcome.job, {})
        headers = {"x-job-id": outcome.job.id}
        best_label = outcome.job.best_label
        if best_label is None:
            return outcome_response(outcome, request, headers)
        return PlainTextResponse(best_label.name, headers=headers)

    async def _outcome_of(
        self, request: Request, known: Sequence[str], wait_s: float, *, is_classic: bool = False
    ) -> Outcome | PendingJob:
        """Submit the image of a request; return its outcome, or the job if the outcome does not come in time.

        Args:
            request: The HTTP request.
            known: The parameters that the path takes.
            wait_s: How long the caller waits.
            is_classic: Whether the caller expects the best label as text.
        """
        submitted = await self._submit(request, known, wait_s, is_classic=is_classic)
        entry_of(request.scope).job_id = submitted.job.id
        if isinstance(submitted, Outcome):
            return submitted
        return await self.pending_replies.wait(submitted, wait_s) or submitted

    async def _submit(
        self, request: Request, known: Sequence[str], wait_s: float, *, is_classic: bool
    ) -> PendingJob | Outcome:
        """Submit the image of a request; on return, the image is durable and no longer in memory."""
        parameters = RequestParameters.read(request, known, self.models, self.limits, self.clock.now_s())
        with self.budget.reserve(waits=wait_s > 0) as reservation:
            upload = await read_upload(request, self.limits, reservation)
            options = parameters.options_with(upload.fields, self.models, self.limits)
            submission = SubmissionRequest(
                data=upload.data,
                file_name=(parameters.file_name or upload.file_name)[: self.limits.file_name_chars_max],
                options=replace(options, top_k=1) if is_classic else options,
                is_heavy=upload.is_heavy,
                wants_text=is_classic,
                deadline_s=parameters.deadline_s,
                idempotency_key=parameters.idempotency_key,
                trace=parameters.trace,
            )
            del upload
            return await self.submissions.submit(submission, wait_s)

    def _accepted(self, job: Job, headers: dict[str, str]) -> Response:
        return accepted_response(job, self.admission.retry_after_s(job.id), headers)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """The endpoint of a job; any web process can answer it, from the buckets alone.

    Args:
        lookup: Finds jobs.
        lookups: Runs the lookups, which block.
        admission: Computes when to ask for a job again.
    """

    lookup: JobLookup
    lookups: Executor
    admission: Admission

    async def get(self, request: Request) -> Response:
        """`GET /v1/jobs/{job_id}`: the job object; 200 whatever its outcome, since the request succeeded."""
        job_id = request.path_params["job_id"]
        if not is_job_id(job_id):
            raise JobNotFound
        entry_of(request.scope).job_id = job_id
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.lookups, self.lookup.find, job_id)
        if found is None:
            raise JobNotFound
        if isinstance(found, Outcome):
            return Response(found.document, media_type="application/json")
        return job_response(found, 200, {"Retry-After": str(self.admission.retry_after_s(job_id))})
