"""What the service answers, read: a job, or the error that it stands for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from beholder.documents import known_members
from beholder.errors import (
    BackendError,
    BadImage,
    BeholderError,
    ConfigError,
    JobError,
    NotFound,
    Overloaded,
    RequestError,
    Unauthorized,
    all_errors,
)
from beholder.job import Failure, Job

__all__ = ["HttpAnswer", "error_of", "failure_error", "job_of", "models_of", "retry_after_s"]

# What a proxy answers in the service's place, and a service that is newer than this client.
_BY_STATUS: dict[int, type[BeholderError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BadImage,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: BadImage,
    HTTPStatus.UNPROCESSABLE_ENTITY: BadImage,
    HTTPStatus.TOO_MANY_REQUESTS: Overloaded,
    HTTPStatus.BAD_GATEWAY: Overloaded,
    HTTPStatus.SERVICE_UNAVAILABLE: Overloaded,
    HTTPStatus.GATEWAY_TIMEOUT: Overloaded,
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer over HTTP; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def job_of(answer: HttpAnswer) -> Job:
    """Return the job of an answer that is no error.

    Raises:
        ConfigError: The answer holds no job, so the address is not that of a service of beholder.
    """
    try:
        return Job.from_dict(known_members(Job, json.loads(answer.body)))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(
            f"the answer, HTTP {answer.status}, is no job; give the address of a service of beholder"
        ) from exc


def models_of(answer: HttpAnswer) -> tuple[str, ...]:
    """Return the models in an answer that is no error, as `name@version`; the first is the default.

    Raises:
        ConfigError: The answer holds no models, so the address is not that of a service of beholder.
    """
    try:
        return tuple(f"{one['name']}@{one['version']}" for one in json.loads(answer.body)["models"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(
            f"the answer, HTTP {answer.status}, lists no models; give the address of a service of beholder"
        ) from exc


def error_of(answer: HttpAnswer) -> BeholderError | None:
    """Return the error that an answer stands for; None if it is none."""
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if answer.status < HTTPStatus.BAD_REQUEST:
        place = answer.headers.get("location", "")
        # Not followed: it would send the key to another server.
        return ConfigError(f"the answer, HTTP {answer.status}, leads to {place}; give that service's address")
    document = _document_of(answer)
    detail = document.get("detail")
    error = _error(str(document.get("code") or ""), detail if isinstance(detail, str) else "", answer.status)
    if isinstance(error, Overloaded):
        error.retry_after_s = retry_after_s(answer) or error.retry_after_s
    if request_id := answer.headers.get("x-request-id"):
        error.add_note(f"x-request-id: {request_id}")
    return error


def failure_error(failure: Failure) -> BeholderError:
    """Return the error that a job ended with."""
    return _error(failure.code, failure.detail, failure.status, default=JobError)


def retry_after_s(answer: HttpAnswer) -> int | None:
    """Return the seconds of a Retry-After; None without it, and for its other form, a date."""
    text = answer.headers.get("retry-after", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _document_of(answer: HttpAnswer) -> Mapping[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _error(code: str, detail: str, status: int, default: type[BeholderError] | None = None) -> BeholderError:
    """Return the service's own error of this code; of an unknown code, one that its status stands for."""
    sentence = detail or f"the service answers HTTP {status}"
    kind = next((one for one in all_errors() if one.code == code and issubclass(one, _ANSWERED)), default)
    if kind is None:
        of_status = RequestError if status < HTTPStatus.INTERNAL_SERVER_ERROR else BeholderError
        kind = _BY_STATUS.get(status, of_status)
    error = kind("service", "request", sentence) if issubclass(kind, BackendError) else kind(sentence)
    error.code = code or kind.code
    return error


_ANSWERED = (RequestError, JobError, BackendError)
