"""From a request to the outcome of its image: what every route that takes an image does."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from beholder.clock import Clock
from beholder.errors import (
    BackendError,
    BadParameter,
    BeholderError,
    EmbeddingUnsupported,
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    ImageGone,
    ImagesTooMany,
    JobError,
    OutcomeLate,
    WebhookRefused,
    all_errors,
)
from beholder.job import Failure, Job
from beholder.job.job import Result
from beholder.web.access_log import entry_of
from beholder.web.current_models import CurrentModels
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.routes.parameters import RequestParameters
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob, SubmissionRequest
from beholder.web.submission.service import SubmissionService
from beholder.web.submission.upload import ImageFetchers, Upload, UploadFormat, checked, read_upload
from beholder.web.submission.upload_budget import UploadBudget
from beholder.web.token_bucket import token_bucket_of
from beholder.web.webhooks.record import Webhook

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
        fetchers: Fetch the images that requests only name.
        check_webhook: Refuses a webhook's URL, with `WebhookRefused`; None if all are refused.
    """

    budget: UploadBudget
    submissions: SubmissionService
    pending_replies: PendingReplies
    models: CurrentModels
    limits: WebLimits
    clock: Clock
    fetchers: ImageFetchers = field(default_factory=ImageFetchers)
    check_webhook: Callable[[str], str] | None = None

    async def outcome_of(
        self,
        request: Request,
        upload_format: UploadFormat,
        wait_s: float,
        *,
        model: str | None = None,
        job_id: str | None = None,
    ) -> Outcome | PendingJob:
        """Submit the image of a request; return its outcome, or the job if the outcome does not come in time.

        Args:
            request: The HTTP request.
            upload_format: How the path's requests hold an image and its options.
            wait_s: How long the caller waits.
            model: The model that the path names; None if it names none.
            job_id: The id that the path gives the job; None if it gives none.

        Raises:
            RequestError: The request cannot be served as it is.
            BackendError: The image was not stored, or its message was not sent.
        """
        (found,) = await self.outcomes_of(request, upload_format, wait_s, model=model, job_id=job_id)
        if isinstance(found, BeholderError):
            raise found
        return found

    async def outcomes_of(
        self,
        request: Request,
        upload_format: UploadFormat,
        wait_s: float,
        *,
        model: str | None = None,
        job_id: str | None = None,
    ) -> Sequence[Outcome | PendingJob | BeholderError]:
        """Do as `outcome_of` with each image of a request; of several, return the errors in their places.

        Args:
            request: The HTTP request.
            upload_format: How the path's requests hold images and their options.
            wait_s: How long the caller waits.
            model: The model that the path names; None if it names none.
            job_id: The id that the path gives the job; None if it gives none.

        Raises:
            RequestError: The request cannot be served as it is.
            BackendError: No image was stored, or no message was sent.
        """
        submitted = await self._submit(request, upload_format, wait_s, model, job_id)
        job_ids = [one.job.id for one in submitted if not isinstance(one, BeholderError)]
        entry_of(request.scope).job_id = ",".join(job_ids)
        if len(submitted) == 1:
            return [await self._outcome(submitted[0], wait_s)]
        return await asyncio.gather(*(self._outcome(one, wait_s) for one in submitted))

    async def _outcome(
        self, submitted: Outcome | PendingJob | BeholderError, wait_s: float
    ) -> Outcome | PendingJob | BeholderError:
        if isinstance(submitted, PendingJob):
            outcome = await self.pending_replies.wait(submitted, wait_s)
            return outcome or self.pending_replies.present(submitted)
        return submitted

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
        self,
        request: Request,
        upload_format: UploadFormat,
        wait_s: float,
        model: str | None,
        job_id: str | None,
    ) -> Sequence[PendingJob | Outcome | BeholderError]:
        """Submit the images of a request; on return, each is durable, or refused, and no longer in memory."""
        models = await self.models.get()
        parameters = RequestParameters.read(
            request, upload_format.known, models, self.limits, self.clock.now_s(), model=model
        )
        with self.budget.reserve(waits=wait_s > 0) as reservation:
            upload = await read_upload(request, upload_format, self.limits, reservation, self.fetchers)
            options = parameters.options_with(upload.fields, models, self.limits)
            served = models.chosen(options.model)
            if upload_format.wants_embedding:
                _check_embeds(served)
                options = replace(options, embed=True)
            _check_named(upload, parameters, job_id)
            webhook = upload.webhook or parameters.webhook_with(upload.fields)
            self._check(webhook)
            common = SubmissionRequest(
                stored=upload.stored,
                job_id=job_id,
                data=b"",
                file_name="",
                options=replace(options, top_k=1) if upload_format.wants_text else options,
                wants_text=upload_format.wants_text,
                deadline_s=parameters.deadline_s,
                model=served.reference,
                webhook=webhook,
                tag=parameters.tag_with(upload.fields),
                is_cacheable=_may_be_cached(request.headers.getlist("cache-control")),
            )
            if (bucket := token_bucket_of(request.scope)) and upload.more:
                bucket.take(len(upload.more))
            if not upload.more:
                submission = self._submission_of(upload, 0, common, parameters)
                del upload
                return [await self.submissions.submit(submission, wait_s)]
            found = await asyncio.gather(
                *(
                    self._try_to_submit(one, place, common, parameters, wait_s)
                    for place, one in enumerate((upload, *upload.more))
                )
            )
        return _accepted(found)

    async def run_again(
        self,
        job: Job,
        job_id: str,
        data: bytes,
        wait_s: float,
        *,
        deadline_s: float | None,
        webhook: Webhook | None,
    ) -> Outcome | PendingJob:
        """Submit the image of a job once more, with the same options and model, as another job.

        Args:
            job: The job whose image it is.
            job_id: The id of the new job.
            data: The image, whose bytes the caller has reserved.
            wait_s: How long the caller waits.
            deadline_s: When the outcome becomes worthless; None for never.
            webhook: Where the job's events were sent, as those of the other one are; None if nowhere.

        Raises:
            RequestError: The image is none that is accepted today, or its model is no longer served.
            BackendError: The image was not stored, or its message was not sent.
        """
        if job.input is None:
            raise ImageGone
        asked = None if job.model is None else f"{job.model}@{job.model_version}"
        submission = SubmissionRequest(
            data=data,
            file_name=job.input.file_name,
            options=job.input.options,
            is_heavy=checked(Upload(data, job.input.file_name), self.limits).is_heavy,
            deadline_s=deadline_s,
            model=(await self.models.get()).chosen(asked).reference,
            job_id=job_id,
            tag=job.input.tag,
            webhook=webhook,
        )
        return await self.submissions.submit(submission, wait_s)

    def _check(self, webhook: Webhook | None) -> None:
        if webhook is None:
            return
        if self.check_webhook is None:
            raise WebhookRefused("this service sends no webhooks; ask for the job by GET /v1/jobs/{job_id}")
        self.check_webhook(webhook.url)

    def _submission_of(
        self, upload: Upload, place: int, common: SubmissionRequest, parameters: RequestParameters
    ) -> SubmissionRequest:
        key = upload.idempotency_key or parameters.idempotency_key
        return replace(
            common,
            data=upload.data,
            file_name=(parameters.file_name or upload.file_name)[: self.limits.file_name_chars_max],
            is_heavy=upload.is_heavy,
            # No caller's key has a line break, so that no key of a form's second image is one of a caller's.
            idempotency_key=f"{key}\n{place}" if key and place else key,
        )

    async def _try_to_submit(
        self,
        upload: Upload,
        place: int,
        common: SubmissionRequest,
        parameters: RequestParameters,
        wait_s: float,
    ) -> PendingJob | Outcome | BeholderError:
        """Submit one of several images, or return its error."""
        if upload.error is not None:
            return upload.error
        try:
            submission = self._submission_of(upload, place, common, parameters)
            return await self.submissions.submit(submission, wait_s)
        except BeholderError as exc:
            return exc


def _may_be_cached(headers: Sequence[str]) -> bool:
    """Return whether the Cache-Control headers of a request leave it a remembered result.

    Source: RFC 9111, section 5.2.1.
    """
    directives = {part.partition("=")[0].strip().lower() for part in ",".join(headers).split(",")}
    return not directives & {"no-cache", "no-store"}


def _check_embeds(served: ServedModel) -> None:
    if served.embedding_size is None:
        raise EmbeddingUnsupported(
            f"{served.reference} gives no embedding; ask for labels, or name a model that has an "
            "embedding_size in GET /v1/models"
        )


def _check_named(upload: Upload, parameters: RequestParameters, job_id: str | None) -> None:
    """Refuse a request that names its job twice, or several jobs or images with one name."""
    if (upload.stored or job_id) and parameters.idempotency_key is not None:
        raise IdempotencyKeyInvalid("the job has an id before it is made; leave the key out")
    if job_id and upload.stored:
        raise BadParameter("the job of an upload has the upload's id; POST the upload to /v1/classify")
    if parameters.file_name and upload.more:
        raise BadParameter("file_name names one image; name each of several in its own part of the form")
    if job_id and upload.more:
        raise ImagesTooMany("one id names one job; send one image")


def _accepted(
    submitted: Sequence[PendingJob | Outcome | BeholderError],
) -> Sequence[PendingJob | Outcome | BeholderError]:
    """Return what became of several images.

    If none is a job and another try may make one, the request is refused, so that clients try again.

    Raises:
        BeholderError: The first error after which another try may help.
    """
    errors = [one for one in submitted if isinstance(one, BeholderError)]
    passing = [one for one in errors if one.retryable or isinstance(one, IdempotencyKeyInUse)]
    if passing and len(errors) == len(submitted):
        raise passing[0]
    return submitted


def _error_of(failure: Failure) -> BeholderError:
    """Return the error that a job failed with, as its worker raised it."""
    classes = {error.code: error for error in all_errors() if not issubclass(error, BackendError)}
    return classes.get(failure.code, JobError)(failure.detail)
