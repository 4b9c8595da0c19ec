"""The routes of jobs: a POST of an image makes a job and answers with its outcome; a GET returns the job."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from beholder.errors import JobFinished, JobNotFound
from beholder.job import Job, JobStatus, is_job_id
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.routes.classification import Classification
from beholder.web.routes.parameters import CLASSIFY, OPTIONS, UPLOAD, read_prefer
from beholder.web.routes.responses import accepted_response, job_response, outcome_response
from beholder.web.submission.admission import Admission
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.json_body import find_in_json, is_json
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome, PendingJob
from beholder.web.submission.upload import UploadFormat

__all__ = ["ImageRoutes", "JobRoutes"]

_CLASSIFY = UploadFormat(CLASSIFY, find=find_in_json(OPTIONS), is_base64=is_json)
_UPLOAD = UploadFormat(UPLOAD, wants_text=True)


@dataclass(frozen=True, slots=True)
class ImageRoutes:
    """The endpoints that take an image: `/v1/classify`, and `/upload` and `/` for the classic clients.

    Args:
        classification: Classifies the image of a request.
        admission: Computes when to ask for a job again.
        limits: What a request may ask for.
    """

    classification: Classification
    admission: Admission
    limits: WebLimits

    async def classify(self, request: Request) -> Response:
        """`POST /v1/classify`: the job object, with its result if that comes in time."""
        prefer = read_prefer(request.headers.getlist("prefer"), self.limits)
        outcome = await self.classification.outcome_of(request, _CLASSIFY, prefer.wait_s)
        headers = {"Preference-Applied": prefer.applied} if prefer.applied else {}
        if isinstance(outcome, PendingJob):
            return self._accepted(outcome.job, headers)
        return outcome_response(outcome, request, headers)

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

    def _accepted(self, job: Job, headers: dict[str, str]) -> Response:
        return accepted_response(job, self.admission.retry_after_s(job.id), headers)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """The endpoints of a job; any web process can answer them, from the buckets alone.

    Args:
        lookup: Finds jobs.
        canceler: Cancels jobs.
        pending_replies: The requests that wait for outcomes.
        lookups: Runs the lookups, which block.
        admission: Computes when to ask for a job again.
    """

    lookup: JobLookup
    canceler: JobCanceler
    pending_replies: PendingReplies
    lookups: Executor
    admission: Admission

    async def get(self, request: Request) -> Response:
        """`GET /v1/jobs/{job_id}`: the job object; 200 whatever its outcome, since the request succeeded."""
        job_id = _job_id_of(request)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.lookups, self.lookup.find, job_id)
        if found is None:
            raise JobNotFound
        if isinstance(found, Outcome):
            return Response(found.document, media_type="application/json")
        return job_response(found, 200, {"Retry-After": str(self.admission.retry_after_s(job_id))})

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/jobs/{job_id}/cancel`: the canceled job; a request that waits for it is answered."""
        job_id = _job_id_of(request)
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self.lookups, self.canceler.cancel, job_id)
        if outcome is None:
            raise JobNotFound
        self.pending_replies.settle([outcome])
        if outcome.job.status is not JobStatus.CANCELED:
            raise JobFinished
        return Response(outcome.document, media_type="application/json")


def _job_id_of(request: Request) -> str:
    job_id: str = request.path_params["job_id"]
    if not is_job_id(job_id):
        raise JobNotFound
    entry_of(request.scope).job_id = job_id
    return job_id
