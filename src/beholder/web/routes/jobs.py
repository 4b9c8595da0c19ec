"""The routes of jobs: a POST of an image makes a job and answers with its outcome; a GET returns the job."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from beholder.documents import to_document
from beholder.errors import BeholderError, IdempotencyKeyInUse, JobFinished, JobNotFound
from beholder.job import Job, JobStatus, is_job_id
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.routes.classification import Classification
from beholder.web.routes.parameters import CLASSIFY, CLASSIFY_OPTIONS, UPLOAD, read_prefer
from beholder.web.routes.responses import (
    EMBEDDING_TYPE,
    accepted_response,
    embedding_response,
    job_response,
    outcome_response,
    refusal_response,
    several_response,
)
from beholder.web.routes.uploads import UploadRoutes
from beholder.web.submission.admission import Admission
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.deletion import JobDeleter, is_deleted
from beholder.web.submission.estimates import Estimates
from beholder.web.submission.json_body import find_in_json, is_json
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob
from beholder.web.submission.upload import UploadFormat

__all__ = ["CLASSIFY_FORMAT", "ImageRoutes", "JobRoutes", "job_id_of"]

CLASSIFY_FORMAT = UploadFormat(CLASSIFY, find=find_in_json(CLASSIFY_OPTIONS), is_base64=is_json)
"""How the requests hold an image that are answered with a job."""
_UPLOAD = UploadFormat(UPLOAD, wants_text=True)
_EMBED_OPTIONS = ("model", "tag", "webhook")
_EMBED = UploadFormat(
    (*_EMBED_OPTIONS, "file_name"),
    find=find_in_json(_EMBED_OPTIONS),
    is_base64=is_json,
    wants_embedding=True,
)


@dataclass(frozen=True, slots=True)
class ImageRoutes:
    """The endpoints that take an image: `/v1/classify`, `/v1/embed`, and for classic clients `/upload`, `/`.

    Args:
        classification: Classifies the image of a request.
        admission: Computes when to ask for a job again.
        limits: What a request may ask for.
        uploads: Takes images that are sent by a link.
    """

    classification: Classification
    admission: Admission
    limits: WebLimits
    uploads: UploadRoutes

    async def classify(self, request: Request) -> Response:
        """`POST /v1/classify`: the job object, with its result if that comes in time; of several, a list."""
        prefer = read_prefer(request.headers.getlist("prefer"), self.limits)
        outcomes = await self.classification.outcomes_of(request, CLASSIFY_FORMAT, prefer.wait_s)
        return self._answer_all(outcomes, request, prefer.applied)

    async def embed(self, request: Request) -> Response:
        """`POST /v1/embed`: as `/v1/classify`, with the embedding; that of one image also as bytes."""
        prefer = read_prefer(request.headers.getlist("prefer"), self.limits)
        outcomes = await self.classification.outcomes_of(request, _EMBED, prefer.wait_s)
        first, *more = outcomes
        wants_bytes = EMBEDDING_TYPE in request.headers.get("accept", "") and not more
        job = first.job if wants_bytes and isinstance(first, Outcome) else None
        if job is None or job.result is None or job.result.embedding is None:
            return self._answer_all(outcomes, request, prefer.applied)
        headers = {"x-job-id": job.id} | _applied(prefer.applied)
        return embedding_response(job.result.embedding, headers)

    def _answer_all(
        self, outcomes: Sequence[Outcome | PendingJob | BeholderError], request: Request, applied: str
    ) -> Response:
        headers = _applied(applied)
        if len(outcomes) > 1:
            # The job of a key that is in use is unfinished as well.
            is_finished = not any(isinstance(one, PendingJob | IdempotencyKeyInUse) for one in outcomes)
            answers = [self.answer(one, request, {}) for one in outcomes]
            return several_response(answers, headers, is_finished=is_finished)
        return self.answer(outcomes[0], request, headers)

    async def upload(self, request: Request) -> Response:
        """`POST /upload` and `POST /`: the best label as plain text, as the classic clients expect."""
        outcome = await self.classification.outcome_of(request, _UPLOAD, self.limits.wait_s_default)
        if isinstance(outcome, PendingJob):
            return self._accepted(outcome.job, {})
        headers = {"x-job-id": outcome.job.id}
        best_label = outcome.job.best_label
        if best_label is None:
            return outcome_response(outcome, request, headers)
        return PlainTextResponse(best_label.name, headers=headers)

    def answer(
        self, outcome: Outcome | PendingJob | BeholderError, request: Request, headers: dict[str, str]
    ) -> Response:
        """Return what an image is answered with: its outcome, its unfinished job, or its problem."""
        if isinstance(outcome, BeholderError):
            return refusal_response(outcome, request)
        if isinstance(outcome, PendingJob):
            return self._accepted(outcome.job, headers)
        # An error does not say which preferences were applied.
        return outcome_response(outcome, request, {} if outcome.job.error else headers)

    def _accepted(self, job: Job, headers: dict[str, str]) -> Response:
        return accepted_response(job, self.admission.retry_after_s(job.id), headers)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """The endpoints of a job; any web process can answer them, from the buckets alone.

    Args:
        lookup: Finds jobs.
        canceler: Cancels jobs.
        deleter: Deletes jobs.
        pending_replies: The requests that wait for outcomes.
        lookups: Runs the lookups, which block.
        admission: Computes when to ask for a job again.
        estimates: Computes when a job may have its outcome.
    """

    lookup: JobLookup
    canceler: JobCanceler
    deleter: JobDeleter
    pending_replies: PendingReplies
    lookups: Executor
    admission: Admission
    estimates: Estimates

    async def get(self, request: Request) -> Response:
        """`GET /v1/jobs/{job_id}`: the job object; 200 whatever its outcome, since the request succeeded."""
        job_id = job_id_of(request)
        found = await bounded(self.lookups, LOOKUP_S_MAX, self.lookup.find, job_id)
        if found is None or (isinstance(found, Outcome) and is_deleted(found)):
            raise JobNotFound
        if isinstance(found, Outcome):
            self.estimates.finished(found.job)
            return Response(found.document, media_type="application/json")
        estimate = to_document(await bounded(self.lookups, LOOKUP_S_MAX, self.estimates.of, found))
        headers = {"Retry-After": str(self.admission.retry_after_s(job_id))}
        return job_response(found, HTTPStatus.OK, headers, estimate=estimate)

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/jobs/{job_id}/cancel`: the canceled job; a request that waits for it is answered."""
        job_id = job_id_of(request)
        outcome = await bounded(self.lookups, LOOKUP_S_MAX, self.canceler.cancel, job_id)
        if outcome is None or is_deleted(outcome):
            raise JobNotFound
        self.pending_replies.settle([outcome])
        if outcome.job.status is not JobStatus.CANCELED:
            raise JobFinished
        return Response(outcome.document, media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/jobs/{job_id}`: 204, also if it was deleted before; a waiting request is answered."""
        job_id = job_id_of(request)
        outcome = await bounded(self.lookups, LOOKUP_S_MAX, self.deleter.delete, job_id)
        if outcome is None:
            raise JobNotFound
        self.pending_replies.settle([outcome])
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _applied(preferences: str) -> dict[str, str]:
    return {"Preference-Applied": preferences} if preferences else {}


def job_id_of(request: Request) -> str:
    """Return the job's id in the path.

    Raises:
        JobNotFound: No job has such an id.
    """
    job_id: str = request.path_params["job_id"]
    if not is_job_id(job_id):
        raise JobNotFound
    entry_of(request.scope).job_id = job_id
    return job_id
