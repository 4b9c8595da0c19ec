"""Errors as HTTP answers: `application/problem+json` with a stable code (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from beholder.errors import BackendError, BeholderError, Overloaded

__all__ = ["problem", "problem_of"]

# What passes by itself, and what somebody has to mend; a probe now and then does no harm.
_PASSES_S, _MENDED_S = "5", "30"


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = "application/problem+json"


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> ProblemResponse:
    """Return a problem document as a response.

    Args:
        status: HTTP status.
        code: Stable, for programs.
        detail: For people: what is wrong and what to do.
        request_id: Of this exchange.
        headers: Such as Retry-After.
        more: Further members of the document.
    """
    document = {
        "type": f"urn:beholder:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **more,
    }
    return ProblemResponse(document, status_code=status, headers=headers)


def problem_of(error: BeholderError, request_id: str) -> ProblemResponse:
    """Return the answer that an error stands for: its code and its detail, never its message."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    elif error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        needs_mending = isinstance(error, BackendError) and not error.retryable
        headers["Retry-After"] = _MENDED_S if needs_mending else _PASSES_S
    return problem(error.http_status, error.code, error.detail, request_id, headers=headers)
