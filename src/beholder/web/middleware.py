"""Wraps every exchange: a request id on all replies, errors as problems, and the request counters."""

import re
import time
import uuid

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beholder.errors import BeholderError, MethodNotAllowed, PathNotFound
from beholder.telemetry.log import get_logger
from beholder.telemetry.metrics import Telemetry
from beholder.web.problems import ProblemResponse, problem, problem_of

__all__ = ["Exchange"]

_log = get_logger(__name__)

_REQUEST_ID = re.compile(rb"[\w.\-]{1,64}")
_CLIENT_CLOSED = 499


class Exchange:
    """The outermost layer of the web tier.

    Args:
        app: The router.
        telemetry: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        """Wrap `app`."""
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        scope["app"] = self
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
                # A label is whatever a model's file says; no browser may read it as a page.
                message["headers"].append((b"x-content-type-options", b"nosniff"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED
        except Exception as exc:
            answer = self._answer(exc, request_id)
            if status:
                raise
            await answer(scope, receive, send_with_id)
        self._count(scope, status, time.perf_counter() - started_s)

    @staticmethod
    def _answer(error: Exception, request_id: str) -> ProblemResponse:
        if isinstance(error, BeholderError):
            return problem_of(error, request_id)
        if isinstance(error, HTTPException):
            known: BeholderError = (
                MethodNotAllowed() if error.status_code == MethodNotAllowed.http_status else PathNotFound()
            )
            answer = problem_of(known, request_id)
            answer.headers.update(error.headers or {})
            return answer
        _log.error(
            "a request failed",
            exc_info=error,
            extra={"action": "web.error", "facts": {"request_id": request_id}},
        )
        return problem(
            500, "internal_error", "Something went wrong inside beholder; its log has the reason.", request_id
        )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path: a label must not have as many values as there are jobs.
        route = scope.get("route")
        name = getattr(route, "path", "unknown")
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
        self._telemetry.requests.labels(name, method, str(status)).inc()
        self._telemetry.request_seconds.labels(name).observe(seconds)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex
