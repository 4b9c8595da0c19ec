"""The access log: one line for each request, with the cause of each that the service could not answer well.

A line tells an operator what an answer keeps from anonymous callers. It never holds a query, a header or a
body, since any of them may hold a secret.
"""

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from beholder.errors import BeholderError
from beholder.telemetry.log import get_logger, log_event

__all__ = ["AccessEntry", "cause_of", "entry_of", "log_access"]

_log = get_logger(__name__)

_CAUSE_CHARS_MAX = 2000
_PATH_CHARS_MAX = 200
_SERVER_ERROR = 500
_UNAVAILABLE = 503
# Load balancers and monitors ask each few seconds.
_HEALTH = {"/healthz", "/readyz", "/metrics"}


@dataclass(slots=True)
class AccessEntry:
    """What is known of one exchange beside its request.

    Args:
        job_id: Of the job that it was about; empty where it was about none.
        code: Of the error that it was answered with.
        cause: What was behind that error, for the operator.
        status: Of the answer; 0 until it has begun.
        bytes_in: Length of the request's body, as far as it was read.
        bytes_out: Length of the answer's body, as far as it was written.
        is_cut: The answer had begun and could not be ended.
    """

    job_id: str = ""
    code: str = ""
    cause: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    is_cut: bool = False


def entry_of(scope: MutableMapping[str, Any]) -> AccessEntry:
    """Return the entry of an exchange."""
    entry: AccessEntry = scope.setdefault("access", AccessEntry())
    return entry


def cause_of(error: Exception) -> str:
    """Return an error's code and everything it says, also what it came from."""
    if isinstance(error, BeholderError):
        said = f"{error.code}: {error.message}"
    else:
        said = f"{BeholderError.code}: {type(error).__name__}: {error}"
    behind = error.__cause__
    if behind is not None and str(behind) not in said:
        said += f" (from {type(behind).__name__}: {behind})"
    return said[:_CAUSE_CHARS_MAX]


def log_access(scope: MutableMapping[str, Any], entry: AccessEntry, seconds: float, *, is_all: bool) -> None:
    """Write the line of an exchange that has ended.

    Args:
        scope: Of the exchange.
        entry: What became of it.
        seconds: How long it took.
        is_all: Also where the service answered as it should.
    """
    is_bad = entry.is_cut or entry.status >= _SERVER_ERROR
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
    if entry.job_id:
        facts["job_id"] = entry.job_id
    if entry.code:
        facts["code"] = entry.code
    if entry.is_cut:
        facts["is_cut"] = True
    if entry.cause:
        facts["cause"] = entry.cause
    log_event(_log, _level_of(entry, route), "web.access", "answered", **facts)


def _level_of(entry: AccessEntry, route: str) -> int:
    if entry.is_cut or entry.status >= _SERVER_ERROR:
        # Too much work, or a backend that is away for now, is no fault of the service.
        return logging.WARNING if entry.status == _UNAVAILABLE else logging.ERROR
    return logging.DEBUG if route in _HEALTH else logging.INFO


def _path_of(scope: MutableMapping[str, Any]) -> str:
    """Return the path as it was sent, without its query, bounded; what is no ASCII is escaped."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return raw[:_PATH_CHARS_MAX].decode("ascii", "backslashreplace")
