"""The routes that take images: `/v1/classify`, and `/upload` and `/` for the classic clients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from beholder.job import Options
from beholder.web.access import entry_of
from beholder.web.routes.jobs import job_response, outcome_response
from beholder.web.routes.parameters import (
    CLASSIFY,
    UPLOAD,
    check_fields,
    join_parameters,
    read_deadline_s,
    read_header,
    read_idempotency_key,
    read_options,
    read_preference,
    read_query,
)
from beholder.web.submission.service import PendingJob, SubmissionService
from beholder.web.submission.submitter import SubmissionRequest
from beholder.web.submission.upload import Upload

__all__ = ["ImageRoutes"]


class ImageRoutes:
    """Endpoints that take an image.

    Args:
        submissions: Where every image passes.
    """

    def __init__(self, submissions: SubmissionService) -> None:
        self._submissions = submissions

    async def classify(self, request: Request) -> Response:
        """`POST /v1/classify`: the job object, with its result where it comes in time."""
        preference = read_preference(request.headers.getlist("prefer"), self._submissions.ports.limits)
        plain = _RequestReader(request, self._submissions, CLASSIFY)
        answer = await self._submissions.accept(request, plain, wait_s=preference.wait_s)
        headers = {"Preference-Applied": preference.applied} if preference.applied else {}
        if isinstance(answer, PendingJob):
            entry_of(request.scope).job_id = answer.job.id
            outcome = await self._submissions.wait(answer, preference.wait_s)
            if outcome is None:
                return self._accepted(answer, headers)
            answer = outcome
        return outcome_response(answer, request, headers)

    async def upload(self, request: Request) -> Response:
        """`POST /upload` and `POST /`: the best label as plain text, as the classic clients expect."""
        plain = _RequestReader(request, self._submissions, UPLOAD)
        wait_s = self._submissions.ports.limits.wait_s_default

        def classic(upload: Upload) -> SubmissionRequest:
            submission = plain(upload)
            return replace(submission, wants_text=True, options=replace(submission.options, top_k=1))

        answer = await self._submissions.accept(request, classic, wait_s=wait_s)
        if isinstance(answer, PendingJob):
            entry_of(request.scope).job_id = answer.job.id
            outcome = await self._submissions.wait(answer, wait_s)
            if outcome is None:
                return self._accepted(answer, {})
            answer = outcome
        entry_of(request.scope).job_id = answer.job.id
        best_label = answer.job.best_label
        if best_label is None:
            return outcome_response(answer, request, {"x-job-id": answer.job.id})
        return PlainTextResponse(best_label.name, headers={"x-job-id": answer.job.id})

    def _accepted(self, pending_job: PendingJob, headers: dict[str, str]) -> Response:
        later = {
            "Location": f"/v1/jobs/{pending_job.job.id}",
            "Retry-After": str(self._submissions.retry_after_s(pending_job.job.id)),
        }
        return job_response(pending_job.job, 202, headers | later)


class _RequestReader:
    """Makes an order of an upload; what the headers and the query say is checked before the body is read."""

    def __init__(self, request: Request, submissions: SubmissionService, known: Sequence[str]) -> None:
        limits = submissions.ports.limits
        self._submissions = submissions
        self._known = known
        self._query = read_query(request.query_params.multi_items(), known)
        deadline = read_header(request.headers, "Cancel-After")
        self._deadline_s = read_deadline_s(deadline, submissions.ports.clock.now_s())
        self._key = read_idempotency_key(read_header(request.headers, "Idempotency-Key"), limits)
        self._trace = request.headers.get("traceparent")
        self._options(self._query)

    def __call__(self, upload: Upload) -> SubmissionRequest:
        check_fields(upload.fields, self._known)
        file_name = self._query.get("file_name") or upload.file_name
        return SubmissionRequest(
            data=upload.data,
            file_name=file_name[: self._submissions.ports.limits.file_name_chars_max],
            options=self._options(join_parameters(self._query, upload.fields)),
            deadline_s=self._deadline_s,
            idempotency_key=self._key,
            trace=self._trace,
        )

    def _options(self, values: Mapping[str, str]) -> Options:
        return read_options(values, self._submissions.ports.models, self._submissions.ports.limits)
