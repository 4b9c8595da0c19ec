"""The ASGI application: every route in one table, and what runs beside them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from beholder.errors import BackendError, PathNotFound
from beholder.job import is_job_id
from beholder.runner import Runner
from beholder.web.limits import WebLimits
from beholder.web.middleware import RequestMiddleware
from beholder.web.nearest import nearest
from beholder.web.ports import WebPorts
from beholder.web.routes.fleet import FleetRoutes, FleetView, watch_fleet
from beholder.web.routes.images import ImageRoutes
from beholder.web.routes.jobs import JobRoutes
from beholder.web.routes.service import ServiceRoutes
from beholder.web.submission.admission import Admission
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.replies import ReplyListener
from beholder.web.submission.service import SubmissionService

__all__ = ["WebApp", "build_app"]


class WebApp:
    """The web tier as an ASGI application, and a way to end it in time.

    Args:
        app: The application.
        submissions: Where requests wait.
    """

    def __init__(self, app: ASGIApp, submissions: SubmissionService) -> None:
        self._app = app
        self._submissions = submissions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        await self._app(scope, receive, send)

    @property
    def limits(self) -> WebLimits:
        """What a request and its connection may take."""
        return self._submissions.ports.limits

    def count_refusal(self, status: int) -> None:
        """Count what was no request and had an answer all the same."""
        self._submissions.ports.telemetry.requests.labels("unknown", "other", str(status)).inc()

    def release_pending_replies(self) -> None:
        """Answer those who wait with 202 and where to ask; for the event loop's thread."""
        self._submissions.release()


def build_app(
    ports: WebPorts,
    *,
    ticks: dict[str, Callable[[], float]] | None = None,
    notifiers: Mapping[str, threading.Event] = MappingProxyType({}),
    interrupt: Callable[[], None] = lambda: None,
) -> WebApp:
    """Return the web tier.

    Args:
        ports: What it works with.
        ticks: Further parts to run beside it, each a `tick()` by its name.
        notifiers: End the sleep of the part of that name when they are set.
        interrupt: Ends their waiting, at the end.
    """
    pending_replies = PendingReplies(ports.limits.waiters_max)
    admission = _admission_of(ports)
    submissions = SubmissionService(ports, pending_replies, admission)
    ports.telemetry.watch(
        "beholder_queue_depth", "Messages of the input queue, approximately.", "state", lambda: _depth(ports)
    )
    ports.telemetry.watch_calls("web", ports.calls)
    fleet = FleetView(ports.results, ports.clock)
    watch_fleet(ports.telemetry, fleet)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        listener = ReplyListener(
            ports.replies,
            pending_replies,
            asyncio.get_running_loop(),
            ports.telemetry,
            wait_s=ports.receive_wait_s,
            on_done=admission.done,
        )
        runner = Runner()
        runner.start("replies", listener.tick)
        runner.start("admission", admission.tick)
        for name, tick in (ticks or {}).items():
            runner.start(name, tick, notifiers.get(name))
        submissions.start()
        sweep = asyncio.create_task(submissions.sweep())
        try:
            yield
        finally:
            sweep.cancel()
            interrupt()
            await asyncio.to_thread(runner.stop)
            submissions.close()

    routes = _routes(submissions, fleet)
    router = Router(routes=routes, lifespan=lifespan, default=_NotFound(routes), redirect_slashes=False)
    return WebApp(RequestMiddleware(router, ports.telemetry, is_all_logged=ports.access_log), submissions)


def _admission_of(ports: WebPorts) -> Admission:
    return Admission(
        ports.queue,
        ports.clock,
        backlog_max=ports.limits.backlog_max,
        asynchronous_share=ports.limits.asynchronous_share,
        startup_s=ports.startup_s,
        every_s=ports.depth_every_s,
    )


def _routes(submissions: SubmissionService, fleet: FleetView) -> list[Route]:
    images, jobs, service = ImageRoutes(submissions), JobRoutes(submissions), ServiceRoutes(submissions)
    return [
        Route("/v1/classify", images.classify, methods=["POST"]),
        Route("/upload", images.upload, methods=["POST"]),
        Route("/v1/jobs/{job_id}", jobs.get, methods=["GET"]),
        Route("/", _Root(images, service), methods=["GET", "POST"]),
        Route("/healthz", service.healthz, methods=["GET"]),
        Route("/readyz", service.readyz, methods=["GET"]),
        Route("/metrics", service.metrics, methods=["GET"]),
        Route("/v1/models", service.models, methods=["GET"]),
        Route("/v1/limits", service.limits, methods=["GET"]),
        Route("/v1/fleet", FleetRoutes(fleet).get, methods=["GET"]),
        Route("/openapi.json", service.openapi, methods=["GET"]),
        Route("/docs", service.docs, methods=["GET"]),
    ]


class _Root:
    """The root takes images of classic clients and shows the page; one route, so that Allow names both."""

    def __init__(self, images: ImageRoutes, service: ServiceRoutes) -> None:
        self._images = images
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        answer = self._images.upload if request.method == "POST" else self._service.index
        response = await answer(request)
        await response(scope, receive, send)


class _NotFound:
    """Answers for every path that is no route, and names the route that was probably meant."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._meant = {
            written: f"{'/'.join(sorted((route.methods or set()) - {'HEAD'}))} {route.path}"
            for route in routes
            if route.path != "/"
            # A path may be as its route, or lack what its last part stands for.
            for written in (route.path, route.path.partition("/{")[0])
        }

    async def __call__(self, scope: Scope, _: Receive, __: Send) -> None:
        path = scope["path"]
        pattern = "/".join("{job_id}" if is_job_id(part) else part for part in path.split("/"))
        meant = nearest(pattern, self._meant)
        if meant is None:
            raise PathNotFound
        raise PathNotFound(
            f"nothing is served under {path!r}; did you mean {self._meant[meant]}? GET / lists what is served"
        )


def _depth(ports: WebPorts) -> dict[str, float]:
    try:
        depth = ports.queue.depth()
    except BackendError:
        return {}
    return {"backlog": depth.backlog, "in_flight": depth.in_flight, "delayed": depth.delayed}
