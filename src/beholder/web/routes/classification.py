"""From a request to the outcome of its image: what every route that takes an image does."""

from dataclasses import dataclass, replace

from starlette.requests import Request

from beholder.clock import Clock
from beholder.errors import BackendError, BeholderError, JobError, OutcomeLate, all_errors
from beholder.job import Failure, Job
from beholder.job.job import Result
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.routes.parameters import RequestParameters
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob, SubmissionRequest
from beholder.web.submission.service import SubmissionService
from beholder.web.submission.upload import Fetch, UploadBudget, UploadFormat, read_upload

__all__ = ["Classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Reads an image out of a request, submits it, and waits for its outcome.

    Args:
        budget: The bytes of uploads that may be in memory.
        submissions: Turns images into jobs.
        pending_replies: Waits for outcomes.
        models: Every model served.
        limits: What a request may ask for.
        clock: The time.
        fetch: Fetches an image that a request has the address of; None if addresses are refused.
    """

    budget: UploadBudget
    submissions: SubmissionService
    pending_replies: PendingReplies
    models: tuple[ServedModel, ...]
    limits: WebLimits
    clock: Clock
    fetch: Fetch | None = None

    async def outcome_of(
        self, request: Request, upload_format: UploadFormat, wait_s: float, *, model: str | None = None
    ) -> Outcome | PendingJob:
        """Submit the image of a request; return its outcome, or the job if the outcome does not come in time.

        Args:
            request: The HTTP request.
            upload_format: How the path's requests hold an image and its options.
            wait_s: How long the caller waits.
            model: The model that the path names; None if it names none.

        Raises:
            RequestError: The request cannot be served as it is.
            BackendError: The image was not stored, or its message was not sent.
        """
        submitted = await self._submit(request, upload_format, wait_s, model)
        entry_of(request.scope).job_id = submitted.job.id
        if isinstance(submitted, Outcome):
            return submitted
        return await self.pending_replies.wait(submitted, wait_s) or submitted

    async def result_of(
        self, request: Request, upload_format: UploadFormat, *, model: str | None = None
    ) -> tuple[Job, Result]:
        """Do as `outcome_of`, for clients that know neither a failed nor an unfinished job.

        Args:
            request: The HTTP request.
            upload_format: How the path's requests hold an image and its options.
            model: The model that the path names; None if it names none.

        Raises:
            JobError: The job failed.
            OutcomeLate: The outcome does not come in time; the job goes on.
            RequestError: The request cannot be served as it is.
            BackendError: The image was not stored, or its message was not sent.
        """
        outcome = await self.outcome_of(request, upload_format, self.limits.wait_s_default, model=model)
        job = outcome.job
        if job.error is not None:
            raise _error_of(job.error)
        if job.result is None:
            raise OutcomeLate(f"the outcome is late; the job goes on, and GET /v1/jobs/{job.id} will have it")
        return job, job.result

    async def _submit(
        self, request: Request, upload_format: UploadFormat, wait_s: float, model: str | None
    ) -> PendingJob | Outcome:
        """Submit the image of a request; on return, the image is durable and no longer in memory."""
        parameters = RequestParameters.read(
            request, upload_format.known, self.models, self.limits, self.clock.now_s(), model=model
        )
        with self.budget.reserve(waits=wait_s > 0) as reservation:
            upload = await read_upload(request, upload_format, self.limits, reservation, self.fetch)
            options = parameters.options_with(upload.fields, self.models, self.limits)
            submission = SubmissionRequest(
                data=upload.data,
                file_name=(parameters.file_name or upload.file_name)[: self.limits.file_name_chars_max],
                options=replace(options, top_k=1) if upload_format.wants_text else options,
                is_heavy=upload.is_heavy,
                wants_text=upload_format.wants_text,
                deadline_s=parameters.deadline_s,
                idempotency_key=upload.idempotency_key or parameters.idempotency_key,
            )
            del upload
            return await self.submissions.submit(submission, wait_s)


def _error_of(failure: Failure) -> BeholderError:
    """Return the error that a job failed with, as its worker raised it."""
    classes = {error.code: error for error in all_errors() if not issubclass(error, BackendError)}
    return classes.get(failure.code, JobError)(failure.detail)
