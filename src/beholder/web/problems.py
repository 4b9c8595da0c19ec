"""Errors as HTTP answers: `application/problem+json` with a stable code (RFC 9457)."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from starlette.responses import JSONResponse

from beholder.documents import Form, to_document
from beholder.errors import BackendError, BeholderError, Overloaded

__all__ = ["ProblemDocument", "problem", "problem_of"]

# Seconds to wait for what passes by itself, and for what an operator has to mend.
_PASSES_S, _MENDED_S = "5", "30"


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """An error (RFC 9457)."""

    type: Annotated[str, Form(format="uri"), "urn:beholder:problem: and the code."]
    title: Annotated[str, "The status in words."]
    status: Annotated[int, Form(minimum=400, maximum=599), "The HTTP status."]
    detail: Annotated[str, "For people: what is wrong and what to do."]
    code: Annotated[str, "For programs; never renamed."]
    request_id: Annotated[str, "The x-request-id of this answer."]


class ProblemResponse(JSONResponse):
    """A problem document as a response."""

    media_type = "application/problem+json"


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    headers: dict[str, str] | None = None,
    job: Any = None,
) -> ProblemResponse:
    """Return a `ProblemDocument` as a response; `job` is that of a job that was accepted and failed."""
    title = HTTPStatus(status).phrase
    document = to_document(
        ProblemDocument(f"urn:beholder:problem:{code}", title, status, detail, code, request_id)
    )
    if job is not None:
        document["job"] = job
    return ProblemResponse(document, status_code=status, headers=headers)


def problem_of(error: BeholderError, request_id: str) -> ProblemResponse:
    """Return the answer to a request that ended with an error: its code and its detail, never its message."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    elif error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        needs_mending = isinstance(error, BackendError) and not error.retryable
        headers["Retry-After"] = _MENDED_S if needs_mending else _PASSES_S
    return problem(error.http_status, error.code, error.detail, request_id, headers=headers)
