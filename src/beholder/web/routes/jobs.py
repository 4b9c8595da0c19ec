"""The routes that tell of jobs; any web process answers them from the buckets alone."""

import json

from starlette.requests import Request
from starlette.responses import Response

from beholder.errors import JobNotFound
from beholder.job import Job, is_job_id
from beholder.web.access import entry_of
from beholder.web.problems import problem
from beholder.web.submission.pending import Outcome
from beholder.web.submission.service import SubmissionService

__all__ = ["JobRoutes", "job_response", "outcome_response"]

_SERVER_ERROR = 500


class JobRoutes:
    """Endpoints that read jobs.

    Args:
        submissions: Where jobs are looked for.
    """

    def __init__(self, submissions: SubmissionService) -> None:
        self._submissions = submissions

    async def get(self, request: Request) -> Response:
        """`GET /v1/jobs/{job_id}`: the job object; 200 whatever its outcome, since the asking succeeded."""
        job_id = request.path_params["job_id"]
        found = None
        if is_job_id(job_id):
            entry_of(request.scope).job_id = job_id
            found = await self._submissions.look(job_id)
        if found is None:
            raise JobNotFound
        if isinstance(found, Outcome):
            return Response(found.document, media_type="application/json")
        return job_response(found, 200, {"Retry-After": str(self._submissions.retry_after_s(job_id))})


def job_response(job: Job, status: int, headers: dict[str, str]) -> Response:
    """Return a job object as a response."""
    body = json.dumps(job.to_dict(), ensure_ascii=False)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def outcome_response(outcome: Outcome, request: Request, headers: dict[str, str]) -> Response:
    """Return the answer to somebody who waited: the job object, or the problem that the job ended with."""
    entry = entry_of(request.scope)
    entry.job_id = outcome.job.id
    failure = outcome.job.error
    if failure is not None:
        entry.code = failure.code
        if failure.status >= _SERVER_ERROR:
            entry.cause = f"{failure.code}: {failure.detail}"
        links = {"Location": f"/v1/jobs/{outcome.job.id}"}
        return problem(
            failure.status,
            failure.code,
            failure.detail,
            request.scope["request_id"],
            headers=headers | links,
            job=json.loads(outcome.document),
        )
    return Response(outcome.document, headers=headers, media_type="application/json")
