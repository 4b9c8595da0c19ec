"""What a client is answered: a job, its outcome, or the problem that the job ended with."""

import json
import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from beholder.errors import BackendError, BeholderError
from beholder.job import Failure, Job
from beholder.job.job import Embedding
from beholder.web.access_log import cause_of, entry_of
from beholder.web.problems import problem, problem_of
from beholder.web.submission.request import Outcome

__all__ = [
    "EMBEDDING_TYPE",
    "accepted_response",
    "embedding_response",
    "job_response",
    "note_failure",
    "outcome_response",
    "refusal_response",
    "several_response",
]

EMBEDDING_TYPE = "application/octet-stream"
"""What Accept names to get an embedding as bytes."""


def job_response(job: Job, status: int, headers: dict[str, str], **more: Any) -> Response:
    """Return the job object of an unfinished job, with further members."""
    body = json.dumps(job.to_dict() | more, ensure_ascii=False)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def accepted_response(job: Job, retry_after_s: int, headers: dict[str, str]) -> Response:
    """Return the 202 of a job whose outcome did not come in time, with where and when to fetch it."""
    later = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(retry_after_s)}
    return job_response(job, HTTPStatus.ACCEPTED, headers | later)


def embedding_response(embedding: Embedding, headers: dict[str, str]) -> Response:
    """Return an embedding as its numbers alone: float32, the lowest byte first, one behind the other."""
    values = embedding.values
    about = {
        "x-embedding-size": str(len(values)),
        "x-embedding-normalised": str(embedding.is_normalised).lower(),
    }
    return Response(struct.pack(f"<{len(values)}f", *values), 200, headers | about, EMBEDDING_TYPE)


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


def refusal_response(error: BeholderError, request: Request) -> Response:
    """Return the problem of one of several images, and write it into the access log."""
    entry = entry_of(request.scope)
    entry.code = error.code
    if isinstance(error, BackendError):
        entry.cause = cause_of(error)
    return problem_of(error, request.scope["request_id"])


def several_response(answers: Sequence[Response], headers: dict[str, str], *, is_finished: bool) -> Response:
    """Return the answer for several images: a list of what each alone is answered with, in their order.

    The status is 202 if a job is not finished, otherwise 200; Retry-After is the longest of all.
    """
    retries = [int(one.headers["Retry-After"]) for one in answers if "Retry-After" in one.headers]
    return Response(
        b'{"items": [' + b", ".join(bytes(one.body) for one in answers) + b"]}",
        HTTPStatus.OK if is_finished else HTTPStatus.ACCEPTED,
        headers | ({"Retry-After": str(max(retries))} if retries else {}),
        "application/json",
    )


def note_failure(request: Request, failure: Failure) -> None:
    """Write the failure of a request's job into the access log."""
    entry = entry_of(request.scope)
    entry.code = failure.code
    if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        entry.cause = f"{failure.code}: {failure.detail}"
