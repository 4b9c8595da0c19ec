"""Errors as HTTP answers: `application/problem+json` with a stable code (RFC 9457)."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from starlette.responses import JSONResponse

from beholder.documents import Form, to_document
from beholder.errors import BackendError, BeholderError, KeyMissing, KeyRefused, Overloaded, ScopeMissing

__all__ = ["ProblemDocument", "error_headers", "problem", "problem_of"]

# Seconds after which to retry: a fault that passes by itself, and one that an operator has to mend.
_TRANSIENT_RETRY_S, _MENDED_RETRY_S = "5", "30"


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
    """Return a `ProblemDocument` as a response; `job` is the document of an accepted job that failed."""
    title = HTTPStatus(status).phrase
    document = to_document(
        ProblemDocument(f"urn:beholder:problem:{code}", title, status, detail, code, request_id)
    )
    if job is not None:
        document["job"] = job
    return ProblemResponse(document, status_code=status, headers=headers)


def problem_of(error: BeholderError, request_id: str) -> ProblemResponse:
    """Return an error as a response, with its code and its detail but not its message for the operator."""
    return problem(error.http_status, error.code, error.detail, request_id, headers=error_headers(error))


def error_headers(error: BeholderError) -> dict[str, str]:
    """Return the headers that an error is answered with, whatever form the answer has."""
    if isinstance(error, Overloaded):
        return {"Retry-After": str(error.retry_after_s)}
    if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        needs_mending = isinstance(error, BackendError) and not error.retryable
        return {"Retry-After": _MENDED_RETRY_S if needs_mending else _TRANSIENT_RETRY_S}
    if isinstance(error, KeyMissing | KeyRefused | ScopeMissing):
        return {"WWW-Authenticate": _challenge(error)}
    return {}


def _challenge(error: KeyMissing | KeyRefused | ScopeMissing) -> str:
    """Return a WWW-Authenticate header.

    Source: RFC 6750, section 3: a request without a token gets no error code.
    """
    if isinstance(error, KeyMissing):
        return 'Bearer realm="beholder"'
    if isinstance(error, KeyRefused):
        return 'Bearer realm="beholder", error="invalid_token"'
    return f'Bearer realm="beholder", error="insufficient_scope", scope="{error.scope}"'
