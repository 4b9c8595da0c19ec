"""What a client is answered: a job, its outcome, or the problem that the job ended with."""

import json
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from beholder.job import Failure, Job
from beholder.web.access_log import entry_of
from beholder.web.problems import problem
from beholder.web.submission.request import Outcome

__all__ = ["accepted_response", "job_response", "note_failure", "outcome_response"]


def job_response(job: Job, status: int, headers: dict[str, str]) -> Response:
    """Return the job object of an unfinished job."""
    body = json.dumps(job.to_dict(), ensure_ascii=False)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def accepted_response(job: Job, retry_after_s: int, headers: dict[str, str]) -> Response:
    """Return the 202 of a job whose outcome did not come in time, with where and when to fetch it."""
    later = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(retry_after_s)}
    return job_response(job, HTTPStatus.ACCEPTED, headers | later)


def outcome_response(outcome: Outcome, request: Request, headers: dict[str, str]) -> Response:
    """Return the job object of a success, or the problem that the job ended with."""
    failure = outcome.job.error
    if failure is None:
        return Response(outcome.document, headers=headers, media_type="application/json")
    note_failure(request, failure)
    return problem(
        failure.status,
        failure.code,
        failure.detail,
        request.scope["request_id"],
        headers=headers | {"Location": f"/v1/jobs/{outcome.job.id}"},
        job=json.loads(outcome.document),
    )


def note_failure(request: Request, failure: Failure) -> None:
    """Write the failure of a request's job into the access log."""
    entry = entry_of(request.scope)
    entry.code = failure.code
    if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        entry.cause = f"{failure.code}: {failure.detail}"
