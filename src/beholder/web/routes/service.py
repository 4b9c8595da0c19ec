"""The routes that tell of the service itself: health, metrics, models, limits, and its pages."""

import asyncio
import json
import math
from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from beholder.documents import to_document
from beholder.errors import BackendError, ObjectNotFound
from beholder.store.port import Store
from beholder.web.access import cause_of, entry_of
from beholder.web.documents import (
    HealthDocument,
    IndexDocument,
    ModelsDocument,
    Part,
    PartProblem,
    ReadinessDocument,
)
from beholder.web.openapi.document import build_openapi
from beholder.web.submission.service import SubmissionService

__all__ = ["ServiceRoutes"]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceRoutes:
    """Endpoints that take nothing in.

    Args:
        submissions: Tells what it works with.
    """

    def __init__(self, submissions: SubmissionService) -> None:
        self._ports = submissions.ports
        self._pending_replies = submissions.pending_replies
        self._asking = asyncio.Lock()
        self._asked_at_s: float | None = None
        self._found: list[tuple[Part, BackendError]] = []
        self._openapi = build_openapi(submissions.ports)
        pages = resources.files("beholder.web") / "pages"
        self._index = (pages / "index.html").read_text(encoding="utf-8")
        # Written once: many who ask for them at once would hold the event loop for seconds.
        document = json.dumps(self._openapi, ensure_ascii=False)
        self._document = document.encode()
        # Escaped so that no text in the document can end the script element it stands in.
        docs = (pages / "docs.html").read_text(encoding="utf-8")
        self._docs = docs.replace("__OPENAPI__", document.replace("<", "\\u003c")).encode()

    async def index(self, request: Request) -> Response:
        """`GET /`: the page for a browser, the list of endpoints for a program."""
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._index, headers={"vary": "accept"})
        endpoints = (
            f"{method.upper()} {path}" for path, item in self._openapi["paths"].items() for method in item
        )
        index = IndexDocument("beholder", self._ports.version, tuple(endpoints), "/openapi.json", "/docs")
        return JSONResponse(to_document(index), headers={"vary": "accept"})

    async def healthz(self, _: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return JSONResponse(to_document(HealthDocument("ok")))

    async def readyz(self, request: Request) -> Response:
        """`GET /readyz`: images can be taken in; 503 where the queue or a bucket does not answer."""
        async with self._asking:  # one asks for all who come meanwhile
            now_s = self._ports.clock.now_s()
            if self._asked_at_s is None or not 0 <= now_s - self._asked_at_s < self._ports.ready_every_s:
                self._found = await asyncio.to_thread(self._problems)
                self._asked_at_s = now_s
            found = self._found
        if not found:
            return JSONResponse(to_document(ReadinessDocument("ready", ())))
        entry = entry_of(request.scope)
        entry.code, entry.cause = found[0][1].code, "; ".join(cause_of(error) for _, error in found)
        problems = tuple(PartProblem(part, error.code, error.detail) for part, error in found)
        return JSONResponse(
            to_document(ReadinessDocument("unready", problems)),
            status_code=503,
            headers={"retry-after": str(max(1, math.ceil(self._ports.ready_every_s)))},
        )

    async def metrics(self, _: Request) -> Response:
        """`GET /metrics`: Prometheus text format."""
        self._ports.telemetry.waiting.set(len(self._pending_replies))
        body = await asyncio.to_thread(self._ports.telemetry.expose)
        return Response(body, headers={"content-type": _METRICS_TYPE})

    async def models(self, _: Request) -> Response:
        """`GET /v1/models`: every model served; the first is the default."""
        models = tuple(self._ports.models)
        return JSONResponse(to_document(ModelsDocument(models[0].name, models)))

    async def limits(self, _: Request) -> Response:
        """`GET /v1/limits`: everything that is bounded."""
        return JSONResponse(self._ports.limits.to_dict())

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`: the interface, for programs."""
        return Response(self._document, media_type="application/json")

    async def docs(self, _: Request) -> Response:
        """`GET /docs`: the interface, for people."""
        return HTMLResponse(self._docs)

    def _problems(self) -> list[tuple[Part, BackendError]]:
        found: list[tuple[Part, BackendError]] = []
        try:
            self._ports.queue.depth()
        except BackendError as exc:
            found.append(("input queue", exc))
        buckets: tuple[tuple[Part, Store], ...] = (
            ("input bucket", self._ports.images),
            ("output bucket", self._ports.results),
        )
        for part, bucket in buckets:
            try:
                bucket.get("readyz")
            except ObjectNotFound:
                continue
            except BackendError as exc:
                found.append((part, exc))
        return found
