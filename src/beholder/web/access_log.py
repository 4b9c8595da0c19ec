"""The access log: one line for each request, with the cause if the request failed.

A line tells an operator what the answer does not tell an anonymous caller. It never contains a query, a
header or a body, since any of them may contain a secret.
"""

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from beholder.errors import BeholderError
from beholder.telemetry.log import log_event

__all__ = ["AccessEntry", "cause_of", "entry_of", "log_access"]

_log = logging.getLogger(__name__)

_CAUSE_CHARS_MAX = 2000
_PATH_CHARS_MAX = 200
# Load balancers and monitors request these every few seconds.
_HEALTH = {"/healthz", "/readyz", "/metrics", "/ping", "/v2/health/live", "/v2/health/ready", "/health-check"}


@dataclass(slots=True)
class AccessEntry:
    """The facts of one request that its handlers find, for its log line.

    Args:
        job_id: The id of the request's job, or several with commas between them; empty if there is none.
        key_id: The id of the request's API key, which is not secret; empty if none was accepted.
        code: The code of the error that is answered; empty if there is none.
        cause: The cause of that error, for the operator.
        status: The status of the answer; 0 until the answer begins.
        bytes_in: Length of the request's body, as far as it was read.
        bytes_out: Length of the answer's body, as far as it was written.
        is_cut: Whether the answer began and could not be completed.
    """

    job_id: str = ""
    key_id: str = ""
    code: str = ""
    cause: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    is_cut: bool = False


def entry_of(scope: MutableMapping[str, Any]) -> AccessEntry:
    """Return the entry of a request."""
    entry: AccessEntry = scope.setdefault("access", AccessEntry())
    return entry


def cause_of(error: Exception) -> str:
    """Return an error's code, its message, and the error that caused it."""
    if isinstance(error, BeholderError):
        said = f"{error.code}: {error.message}"
    else:
        said = f"{BeholderError.code}: {type(error).__name__}: {error}"
    behind = error.__cause__
    if behind is not None and str(behind) not in said:
        said += f" (from {type(behind).__name__}: {behind})"
    return said[:_CAUSE_CHARS_MAX]


def log_access(scope: MutableMapping[str, Any], entry: AccessEntry, seconds: float, *, is_all: bool) -> None:
    """Write the line of a request that has ended.

    Args:
        scope: The request.
        entry: Its entry.
        seconds: How long it took.
        is_all: Whether requests without a server error have a line, too.
    """
    is_bad = entry.is_cut or entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if not (is_all or is_bad):
        return
    route = getattr(scope.get("route"), "path", "unknown")
    client = scope.get("client")
    facts: dict[str, Any] = {
        "method": scope["method"],
        "path": _path_of(scope),
        "route": route,
        "status": entry.status,
        "ms": round(seconds * 1000, 1),
        "bytes_in": entry.bytes_in,
        "bytes_out": entry.bytes_out,
        "client": client[0] if client else "",
        "request_id": scope["request_id"],
    }
    for name in ("job_id", "key_id", "code", "is_cut", "cause"):
        if value := getattr(entry, name):
            facts[name] = value
    log_event(_log, _level_of(entry, route), "web.access", "answered", **facts)


def _level_of(entry: AccessEntry, route: str) -> int:
    if entry.is_cut or entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Overload and a backend that is unavailable for now are no faults of the service.
        return logging.WARNING if entry.status == HTTPStatus.SERVICE_UNAVAILABLE else logging.ERROR
    return logging.DEBUG if route in _HEALTH else logging.INFO


def _path_of(scope: MutableMapping[str, Any]) -> str:
    """Return the path as it was sent, without its query, cut off and in ASCII with escapes."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return raw[:_PATH_CHARS_MAX].decode("ascii", "backslashreplace")
