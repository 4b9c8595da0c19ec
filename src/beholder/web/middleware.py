"""The middleware around every request: request ids, errors as problems, request counters, access log."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beholder.errors import (
    BackendError,
    BeholderError,
    JobError,
    MethodNotAllowed,
    PathNotFound,
    RequestError,
)
from beholder.telemetry.metrics import Telemetry
from beholder.web.access_log import AccessEntry, cause_of, entry_of, log_access
from beholder.web.problems import problem_of
from beholder.web.token_bucket import token_bucket_of

__all__ = ["RequestMiddleware", "new_request_id", "problem_answer"]

_log = logging.getLogger(__name__)

ErrorAnswer = Callable[[Scope, BeholderError], Response]

_REQUEST_ID = re.compile(rb"[\w.\-]{1,64}")
_CLIENT_CLOSED = 499


def problem_answer(scope: Scope, error: BeholderError) -> Response:
    """Return the problem document of an error, the answer of every path that states no other form."""
    return problem_of(error, scope["request_id"])


class RequestMiddleware:
    """The outermost layer of the web tier.

    Args:
        app: The router.
        telemetry: Counts requests.
        is_all_logged: Whether every request has a log line; a request that ends with a 5xx always has one.
        error_answer: Returns the answer to a request that ended with an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        telemetry: Telemetry,
        *,
        is_all_logged: bool = True,
        error_answer: ErrorAnswer = problem_answer,
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._error_answer = error_answer
        self._is_all_logged = is_all_logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        scope["request_id"] = _request_id(scope)
        scope["app"] = self
        entry = entry_of(scope)
        channel = _Channel(scope, receive, send, entry)
        try:
            await self._app(scope, channel.receive, channel.send)
        except ClientDisconnect:
            entry.status = _CLIENT_CLOSED
        except Exception as exc:
            known = _known(exc, scope["request_id"])
            entry.code = known.code
            is_server_error = known.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
            if entry.status or is_server_error or isinstance(known, BackendError):
                entry.cause = cause_of(exc)
            if entry.status:
                entry.is_cut = True
                raise
            answer = self._error_answer(scope, known)
            if isinstance(exc, HTTPException):
                answer.headers.update(exc.headers or {})
            await answer(scope, channel.receive, channel.send)
        finally:
            self._end(scope, entry, time.perf_counter() - started_s)

    def count_refusal(self, status: int) -> None:
        """Count an answer to bytes that are no request."""
        self._telemetry.requests.labels("unknown", "other", str(status)).inc()

    def _end(self, scope: Scope, entry: AccessEntry, seconds: float) -> None:
        # The route's pattern instead of the path, so that the label does not have as many values as jobs.
        name = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "HEAD", "DELETE") else "other"
        if not entry.status:
            entry.status, entry.cause = _CLIENT_CLOSED, "the process ended before it answered"
        self._telemetry.requests.labels(name, method, str(entry.status)).inc()
        self._telemetry.request_seconds.labels(name).observe(seconds)
        log_access(scope, entry, seconds, is_all=self._is_all_logged)


class _Channel:
    """Passes a request's messages on, adds headers to every answer, and fills the access log's entry."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, entry: AccessEntry) -> None:
        self._scope = scope
        self._request_id = scope["request_id"].encode()
        self._receive = receive
        self._send = send
        self._entry = entry

    async def receive(self) -> Message:
        message = await self._receive()
        self._entry.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # uvicorn silently drops an answer to a client that has left; only its cycle object knows that.
            is_gone = getattr(getattr(self._send, "__self__", None), "disconnected", False)
            self._entry.status = _CLIENT_CLOSED if is_gone else message["status"]
            message["headers"].append((b"x-request-id", self._request_id))
            # A label may be any text from a model's file; no browser may render it as a page.
            message["headers"].append((b"x-content-type-options", b"nosniff"))
            if bucket := token_bucket_of(self._scope):
                message["headers"].extend(bucket.headers)
        else:
            self._entry.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _known(error: Exception, request_id: str) -> BeholderError:
    """Return the error that the caller sees; log an unexpected error with its traceback."""
    if isinstance(error, RequestError | JobError | BackendError):
        return error
    if isinstance(error, HTTPException):
        return MethodNotAllowed() if error.status_code == MethodNotAllowed.http_status else PathNotFound()
    facts = {"request_id": request_id}
    _log.error("a request failed", exc_info=error, extra={"action": "web.error", "facts": facts})
    return BeholderError()


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return new_request_id()


def new_request_id() -> str:
    """Return an id for a request that has none."""
    return uuid.uuid4().hex
