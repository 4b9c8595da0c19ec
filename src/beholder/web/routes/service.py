"""The routes that describe the service: health, metrics, models, limits, and its pages."""

import asyncio
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from beholder.documents import to_document
from beholder.telemetry.metrics import Telemetry
from beholder.web.access_log import cause_of, entry_of
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.readiness import Readiness
from beholder.web.service_documents import (
    HealthDocument,
    IndexDocument,
    ModelsDocument,
    PartProblem,
    ReadinessDocument,
)

__all__ = ["ServiceRoutes"]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceRoutes:
    """The endpoints that describe the service.

    Args:
        openapi: The OpenAPI document.
        models: Every model served; the first is the default.
        limits: The limits of the HTTP interface.
        readiness: Whether images can be accepted.
        telemetry: The metrics.
    """

    def __init__(
        self,
        *,
        openapi: Mapping[str, Any],
        models: tuple[ServedModel, ...],
        limits: WebLimits,
        readiness: Readiness,
        telemetry: Telemetry,
    ) -> None:
        self._models = models
        self._limits = limits
        self._readiness = readiness
        self._telemetry = telemetry
        endpoints = (f"{method.upper()} {path}" for path, item in openapi["paths"].items() for method in item)
        self._endpoints = to_document(
            IndexDocument("beholder", openapi["info"]["version"], tuple(endpoints), "/openapi.json", "/docs")
        )
        pages = resources.files("beholder.web") / "pages"
        self._index = (pages / "index.html").read_text(encoding="utf-8")
        # Rendered once: many concurrent requests for these would block the event loop for seconds.
        document = json.dumps(openapi, ensure_ascii=False)
        self._document = document.encode()
        # Escaped so that no text in the document can end the script element around it.
        docs = (pages / "docs.html").read_text(encoding="utf-8")
        self._docs = docs.replace("__OPENAPI__", document.replace("<", "\\u003c")).encode()

    async def index(self, request: Request) -> Response:
        """`GET /`: the page for a browser, the list of endpoints for a program."""
        headers = {"vary": "accept"}
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._index, headers=headers)
        return JSONResponse(self._endpoints, headers=headers)

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

    async def models(self, _: Request) -> Response:
        """`GET /v1/models`: every model served; the first is the default."""
        return JSONResponse(to_document(ModelsDocument(self._models[0].name, self._models)))

    async def limits(self, _: Request) -> Response:
        """`GET /v1/limits`: every limit."""
        return JSONResponse(self._limits.to_dict())

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`: the interface, for programs."""
        return Response(self._document, media_type="application/json")

    async def docs(self, _: Request) -> Response:
        """`GET /docs`: the interface, for people."""
        return HTMLResponse(self._docs)
