"""The errors in the OpenAPI document: which errors a caller may get, and the responses with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import beholder.web.connections.errors  # noqa: F401 -- its errors join the tree
from beholder.dead_letters.redrive import DeadLetterNotFound
from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendFull,
    BackendThrottled,
    BackendUnavailable,
    BadImage,
    BadParameter,
    BeholderError,
    EmbeddingUnsupported,
    JobError,
    JobFinished,
    JobNotFailed,
    JobNotFound,
    KeyMissing,
    KeyRefused,
    MethodNotAllowed,
    ModelNotFound,
    ModelVersionNotFound,
    OutcomeLate,
    ParameterRepeated,
    ParameterUnknown,
    PathNotFound,
    QueueGone,
    RequestError,
    ScopeMissing,
    StreamUnsupported,
    UploadLinkExpired,
    UploadTooSlow,
    all_errors,
    default_message,
)
from beholder.web.openapi.examples import error_example
from beholder.web.openapi.json_schema import ref

__all__ = [
    "DEFAULT_ERRORS",
    "PROBLEM",
    "READ_ERRORS",
    "ErrorForm",
    "compat_errors",
    "error_codes",
    "error_table",
    "image_errors",
    "key_problems",
    "other_problems",
    "problems",
    "visible_errors",
]

_Errors = Sequence[type[BeholderError]]


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """How the errors of an operation are written.

    Args:
        media_type: The type of the answer.
        schema: Returns the schema of a document with one of these codes.
        example: Returns the document of an error.
    """

    media_type: str
    schema: Callable[[Sequence[str]], dict[str, Any]]
    example: Callable[[type[BeholderError]], dict[str, Any]]


def _problem_schema(codes: Sequence[str]) -> dict[str, Any]:
    if not codes:
        return ref("schemas", "Problem")
    return {"allOf": [ref("schemas", "Problem"), {"properties": {"code": {"enum": list(codes)}}}]}


PROBLEM = ErrorForm("application/problem+json", _problem_schema, error_example)
"""Problem documents, which every path of the service's own answers with."""

READ_ERRORS: _Errors = (
    KeyMissing,
    KeyRefused,
    ScopeMissing,
    JobNotFound,
    BackendUnavailable,
    BackendThrottled,
    BackendDenied,
    BeholderError,
)
"""The errors of a GET for a job."""

DEFAULT_ERRORS: _Errors = (
    BadParameter,
    ParameterRepeated,
    ParameterUnknown,
    UploadTooSlow,
    ModelNotFound,
    ModelVersionNotFound,
    BackendFull,
    *(error for error in READ_ERRORS if error is not JobNotFound),
)
"""The errors of setting the default model."""

_GROUPS = {RequestError, JobError}
_OF_OTHER_ROUTES = {
    PathNotFound,
    MethodNotAllowed,
    JobNotFound,
    JobFinished,
    JobNotFailed,
    DeadLetterNotFound,
    OutcomeLate,
    EmbeddingUnsupported,
    StreamUnsupported,
    UploadLinkExpired,
}


def visible_errors() -> _Errors:
    """Return the errors that a caller may get, which excludes those of start-up and of a worker's inside."""
    answered = (RequestError, JobError, BackendError)
    return [error for error in all_errors() if error is BeholderError or issubclass(error, answered)]


def image_errors() -> _Errors:
    """Return the errors that an upload may get."""
    of_images = [
        error
        for error in visible_errors()
        if issubclass(error, (RequestError, JobError)) and error not in _GROUPS | _OF_OTHER_ROUTES
    ]
    of_backends = [BackendUnavailable, BackendThrottled, BackendFull, BackendDenied, QueueGone]
    return [*of_images, *of_backends, BeholderError]


def compat_errors() -> _Errors:
    """Return the errors that an upload by a client of another service may get."""
    return [*image_errors(), OutcomeLate]


def error_codes(errors: _Errors) -> list[str]:
    """Return the errors' codes, each once."""
    return list(dict.fromkeys(error.code for error in errors))


def error_table() -> str:
    """Return a table of all codes in Markdown."""
    rows = ["| code | status | again | meaning |", "|---|---|---|---|"]
    for error in visible_errors():
        again = "again" if error.retryable else ""
        rows.append(f"| `{error.code}` | {error.http_status} | {again} | {default_message(error)} |")
    return "\n".join(rows) + "\n"


def problems(errors: _Errors, error_form: ErrorForm = PROBLEM) -> dict[str, Any]:
    """Return one response for each status among `errors`, with its codes and an example of each."""
    by_status: dict[int, list[type[BeholderError]]] = {}
    for error in errors:
        by_status.setdefault(error.http_status, []).append(error)
    found = {str(status): _response(status, of, error_form) for status, of in sorted(by_status.items())}
    # What a worker finds out is the end of an accepted job.
    if error_form is PROBLEM and any(issubclass(error, JobError) for error in errors):
        for status, of_status in by_status.items():
            if any(issubclass(error, JobError | BadImage | ModelNotFound) for error in of_status):
                found[str(status)]["headers"]["Location"] = ref("headers", "FailedJob")
    return found


def other_problems(error_form: ErrorForm = PROBLEM) -> dict[str, Any]:
    """Return the response for the errors that an operation does not list."""
    return {
        "description": "Any other error, such as 405 for a method that this path does not take.",
        "headers": {"x-request-id": ref("headers", "RequestId"), "Allow": ref("headers", "Allow")},
        "content": {
            error_form.media_type: {
                "schema": error_form.schema(()),
                "example": error_form.example(MethodNotAllowed),
            }
        },
    }


def key_problems(default: dict[str, Any]) -> dict[str, Any]:
    """Return the responses of an operation that needs an API key, in the form of its `default` response."""
    content = {media_type: {"schema": one["schema"]} for media_type, one in default["content"].items()}
    found = problems((KeyMissing, KeyRefused, ScopeMissing, BackendUnavailable))
    return {status: response | {"content": content} for status, response in found.items()}


def _response(status: int, errors: _Errors, error_form: ErrorForm) -> dict[str, Any]:
    codes = error_codes(errors)
    examples = {
        error.code: {"summary": default_message(error), "value": error_form.example(error)}
        for error in errors
    }
    headers = {"x-request-id": ref("headers", "RequestId")}
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        headers["WWW-Authenticate"] = ref("headers", "Challenge")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = ref("headers", "RetryAfter")
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": headers,
        "content": {error_form.media_type: {"schema": error_form.schema(codes), "examples": examples}},
    }
