"""The routes that describe the service: health, metrics, limits; its pages are in `pages`."""

import asyncio
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.documents import to_document
from beholder.telemetry.metrics import Telemetry
from beholder.web.access_log import cause_of, entry_of
from beholder.web.limits import WebLimits
from beholder.web.readiness import Readiness
from beholder.web.routes.pages import PageRoutes
from beholder.web.service_documents import (
    HealthDocument,
    IndexDocument,
    PartProblem,
    ReadinessDocument,
)

__all__ = ["ServiceRoutes"]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceRoutes:
    """The endpoints that describe the service.

    Args:
        openapi: Returns the OpenAPI document.
        limits: The limits of the HTTP interface.
        readiness: Whether images can be accepted.
        telemetry: The metrics.
    """

    def __init__(
        self,
        *,
        openapi: Callable[[], Mapping[str, Any]],
        limits: WebLimits,
        readiness: Readiness,
        telemetry: Telemetry,
    ) -> None:
        self._limits = limits
        self._readiness = readiness
        self._telemetry = telemetry
        self._openapi = functools.cache(openapi)
        self.pages = PageRoutes(lambda: self._document)

    # These are rendered for the first client that asks, which few processes have, and once: many concurrent
    # requests for them would block the event loop for seconds.
    @functools.cached_property
    def _endpoints(self) -> dict[str, Any]:
        openapi = self._openapi()
        endpoints = (f"{method.upper()} {path}" for path, item in openapi["paths"].items() for method in item)
        document: dict[str, Any] = to_document(
            IndexDocument("beholder", openapi["info"]["version"], tuple(endpoints), "/openapi.json", "/docs")
        )
        return document

    @functools.cached_property
    def _document(self) -> str:
        return json.dumps(self._openapi(), ensure_ascii=False)

    async def index(self, request: Request) -> Response:
        """`GET /`: the page for a browser, the list of endpoints for a program."""
        if "text/html" in request.headers.get("accept", ""):
            return self.pages.index()
        return JSONResponse(self._endpoints, headers={"vary": "accept"})

    async def healthz(self, _: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return JSONResponse(to_document(HealthDocument("ok")))

    async def readyz(self, request: Request) -> Response:
        """`GET /readyz`: whether images can be accepted.

        503 if the queue or a bucket does not answer, or if the process will end.
        """
        if self._readiness.is_draining:
            entry_of(request.scope).cause = "the process will end"
            return self._unready(ReadinessDocument("draining", ()))
        found = await self._readiness.problems()
        if not found:
            return JSONResponse(to_document(ReadinessDocument("ready", ())))
        entry = entry_of(request.scope)
        entry.code, entry.cause = found[0][1].code, "; ".join(cause_of(error) for _, error in found)
        problems = tuple(PartProblem(part, error.code, error.detail) for part, error in found)
        return self._unready(ReadinessDocument("unready", problems))

    def _unready(self, document: ReadinessDocument) -> Response:
        retry_after_s = max(1, math.ceil(self._readiness.every_s))
        return JSONResponse(
            to_document(document), status_code=503, headers={"retry-after": str(retry_after_s)}
        )

    async def metrics(self, _: Request) -> Response:
        """`GET /metrics`: Prometheus text format."""
        body = await asyncio.to_thread(self._telemetry.expose)
        return Response(body, headers={"content-type": _METRICS_TYPE})

    async def limits(self, _: Request) -> Response:
        """`GET /v1/limits`: every limit."""
        return JSONResponse(self._limits.to_dict())

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`: the interface, for programs."""
        return Response(self._document, media_type="application/json")
