"""The web tier as an ASGI application: its parts, its routes, and the threads that run beside them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from beholder.clock import MonotonicClock
from beholder.dead_letters.redrive import Redrive
from beholder.errors import BackendError, PathNotFound
from beholder.job import is_job_id
from beholder.runner import Runner
from beholder.web.current_models import CurrentModels
from beholder.web.fleet_view import FleetView, watch_fleet
from beholder.web.key_check import KeyCheck
from beholder.web.labels import LabelIndex
from beholder.web.limits import WebLimits
from beholder.web.middleware import RequestMiddleware
from beholder.web.nearest import nearest
from beholder.web.openapi.document import build_openapi
from beholder.web.ports import WebPorts
from beholder.web.rate_limit import RateLimit
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.routes.compat.forms import compat_routes, error_answer
from beholder.web.routes.compat.rekognition import RekognitionRoute, is_for_rekognition
from beholder.web.routes.dead_letters import DeadLetterRoutes
from beholder.web.routes.fleet import FleetRoutes
from beholder.web.routes.job_lists import JobListRoute
from beholder.web.routes.jobs import ImageRoutes, JobRoutes
from beholder.web.routes.models import ModelRoutes
from beholder.web.routes.named_jobs import NamedJobRoutes
from beholder.web.routes.service import ServiceRoutes
from beholder.web.routes.uploads import UploadRoutes
from beholder.web.served_models import ServedModels
from beholder.web.submission.admission import Admission
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.deletion import JobDeleter
from beholder.web.submission.direct_uploads import DirectUploads
from beholder.web.submission.estimates import Estimates
from beholder.web.submission.job_list import JobLister
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.result_cache import ResultCache
from beholder.web.submission.service import SubmissionService
from beholder.web.submission.upload_budget import UploadBudget
from beholder.web.submission.worker_replies import ReplyReader
from beholder.web.webhooks.deliverer import WebhookDeliverer
from beholder.web.webhooks.opening import delivering, open_deliverer, watch_webhooks
from beholder.web.webhooks.records import WebhookRecords

__all__ = ["WebApp", "build_app"]


class WebApp(RequestMiddleware):
    """The web tier as an ASGI application: the request middleware around its routes.

    Args:
        routes: The routes.
        ports: What the web tier works with.
        pending_replies: The requests that wait for an outcome.
        readiness: Whether images can be accepted.
    """

    def __init__(
        self, routes: ASGIApp, ports: WebPorts, pending_replies: PendingReplies, readiness: Readiness
    ) -> None:
        super().__init__(routes, ports.telemetry, is_all_logged=ports.access_log, error_answer=error_answer)
        self._limits = ports.limits
        self._pending_replies = pending_replies
        self._readiness = readiness

    @property
    def limits(self) -> WebLimits:
        """What a request and its connection may take."""
        return self._limits

    def drain(self) -> None:
        """Answer `/readyz` with 503 from now on; call this in the event loop's thread."""
        self._readiness.drain()

    def release_pending_replies(self) -> None:
        """Answer the waiting requests with 202 and a Location; call this in the event loop's thread."""
        self._pending_replies.release()


def build_app(
    ports: WebPorts,
    *,
    ticks: Mapping[str, Callable[[], float]] = MappingProxyType({}),
    notifiers: Mapping[str, threading.Event] = MappingProxyType({}),
    interrupt: Callable[[], None] = lambda: None,
) -> WebApp:
    """Return the web tier.

    Args:
        ports: What it works with.
        ticks: Parts to run beside it: each a `tick()`, by name.
        notifiers: Events that end the sleep of a part when set, by its name.
        interrupt: Ends the waits of these parts when the process ends.
    """
    lookup = JobLookup(ports)
    # A lookup in a remote bucket blocks for long, so lookups have threads of their own.
    lookups = ThreadPoolExecutor(2, thread_name_prefix="lookup")
    webhooks = open_deliverer(ports, lookup)
    cache = ResultCache(ports.limits.result_cache_max) if ports.limits.result_cache_max else None
    pending_replies = _pending_replies(ports, lookup, webhooks, cache)
    admission = _admission_of(ports)
    submissions = SubmissionService(ports, admission, pending_replies, lookup, webhooks=webhooks, cache=cache)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        reader = ReplyReader(pending_replies, ports.telemetry, on_done=admission.done)
        runner = Runner()
        ports.replies.listen(reader.take, runner)
        runner.start("admission", admission.tick, admission.notifier)
        for name, tick in ticks.items():
            runner.start(name, tick, notifiers.get(name))
        submissions.start()
        sweep = asyncio.create_task(pending_replies.sweep(lookups))
        try:
            async with delivering(webhooks, runner):
                yield
        finally:
            sweep.cancel()
            interrupt()
            await asyncio.to_thread(runner.stop)
            submissions.close()
            lookups.shutdown()

    fleet = FleetView(ports.results, ports.clock)
    readiness = _readiness_of(ports)
    _register_metrics(ports, pending_replies, fleet, webhooks)
    images = _image_routes(ports, admission, submissions, pending_replies, lookups)
    service = _service_routes(ports, readiness)
    canceler = JobCanceler(lookup, ports.results, ports.clock)
    deleter = JobDeleter(canceler, ports.images, ports.results, ports.clock)
    estimates = _estimates(ports, fleet, admission)
    jobs = JobRoutes(lookup, canceler, deleter, pending_replies, lookups, admission, estimates)
    compat = compat_routes(images.classification, canceler, lookups, readiness, ports.version)
    routes = _job_routes(jobs, images, ports) + _routes(images, service) + _operator_routes(ports, fleet)
    return WebApp(_router(routes + compat, lifespan, ports), ports, pending_replies, readiness)


def _router(routes: list[Route], lifespan: Lifespan[Any], ports: WebPorts) -> ASGIApp:
    app: ASGIApp = Router(routes=routes, lifespan=lifespan, default=_NotFound(routes), redirect_slashes=False)
    if ports.keys or ports.limits.requests_per_minute_max:
        app = RateLimit(app, ports.limits.requests_per_minute_max, MonotonicClock())
    return KeyCheck(app, ports.keys, ports.clock) if ports.keys else app


def _pending_replies(
    ports: WebPorts, lookup: JobLookup, webhooks: WebhookDeliverer | None, cache: ResultCache | None
) -> PendingReplies:
    on_settled = [webhooks.settled] if webhooks else []
    if cache is not None:
        on_settled.append(cache.settle)
    return PendingReplies(ports.limits.waiters_max, lookup, ports.clock, on_settled=on_settled)


def _readiness_of(ports: WebPorts) -> Readiness:
    return Readiness(ports.queue, ports.images, ports.results, ports.clock, ports.ready_every_s)


def _admission_of(ports: WebPorts) -> Admission:
    return Admission(
        ports.queue,
        ports.clock,
        backlog_max=ports.limits.backlog_max,
        asynchronous_share=ports.limits.asynchronous_share,
        startup_s=ports.startup_s,
        every_s=ports.depth_every_s,
    )


def _estimates(ports: WebPorts, fleet: FleetView, admission: Admission) -> Estimates:
    estimates = Estimates(fleet, admission, ports.clock)
    ports.telemetry.watch(
        "beholder_estimates_total",
        "Outcomes inside and outside the intervals that callers were told.",
        estimates.counts,
        "outcome",
    )
    return estimates


def _current_models(ports: WebPorts) -> CurrentModels:
    labels = {reference: LabelIndex(labels) for reference, labels in ports.labels.items()}
    return CurrentModels(ServedModels(ports.models, labels), ports.results, ports.clock)


def _image_routes(
    ports: WebPorts,
    admission: Admission,
    submissions: SubmissionService,
    pending_replies: PendingReplies,
    lookups: ThreadPoolExecutor,
) -> ImageRoutes:
    uploads = DirectUploads(ports.images, ports.limits, ports.clock, lookups, ports.presign)
    budget = UploadBudget(
        ports.limits.uploads_bytes_max,
        ports.telemetry,
        asynchronous_share=ports.limits.asynchronous_share,
    )
    classification = Classification(
        budget=budget,
        submissions=submissions,
        pending_replies=pending_replies,
        models=_current_models(ports),
        limits=ports.limits,
        clock=ports.clock,
        fetchers=replace(ports.fetchers, upload=uploads.find),
        check_webhook=ports.webhooks.check if ports.webhooks else None,
    )
    return ImageRoutes(classification, admission, ports.limits, UploadRoutes(uploads, budget, ports.limits))


def _service_routes(ports: WebPorts, readiness: Readiness) -> ServiceRoutes:
    return ServiceRoutes(
        openapi=partial(build_openapi, ports),
        limits=ports.limits,
        readiness=readiness,
        telemetry=ports.telemetry,
    )


def _register_metrics(
    ports: WebPorts, pending_replies: PendingReplies, fleet: FleetView, webhooks: WebhookDeliverer | None
) -> None:
    """Register the metrics that are read at each scrape."""
    ports.telemetry.watch(
        "beholder_queue_depth", "Messages of the input queue, approximately.", lambda: _depth(ports), "state"
    )
    ports.telemetry.waiting.set_function(lambda: len(pending_replies))
    ports.telemetry.watch_calls("web", ports.calls)
    watch_fleet(ports.telemetry, fleet)
    watch_webhooks(ports.telemetry, webhooks)


def _job_routes(jobs: JobRoutes, images: ImageRoutes, ports: WebPorts) -> list[Route]:
    webhooks = WebhookRecords(ports.results, ports.clock) if ports.webhooks else None
    named = NamedJobRoutes(images, jobs.lookup, jobs.lookups, ports.images, ports.clock, webhooks)
    lister = JobLister(ports.images, jobs.lookup, ports.map_items, ports.clock)
    listed = JobListRoute(lister, jobs.lookups)
    by_method = {"GET": jobs.get, "HEAD": jobs.get, "PUT": named.put, "DELETE": jobs.delete}

    async def job(request: Request) -> Response:
        """One route for all methods, so that Allow names them."""
        return await by_method[request.method](request)

    return [
        Route("/v1/jobs", listed.get, methods=["GET"]),
        Route("/v1/jobs/{job_id}", job, methods=list(by_method)),
        Route("/v1/jobs/{job_id}/cancel", jobs.cancel, methods=["POST"]),
        Route("/v1/jobs/{job_id}/retry", named.retry, methods=["POST"]),
    ]


def _routes(images: ImageRoutes, service: ServiceRoutes) -> list[Route]:
    models = ModelRoutes(images.classification.models, images.limits)
    return [
        Route("/v1/classify", _Endpoint(images.classify), methods=["POST"]),
        Route("/v1/embed", _Endpoint(images.embed), methods=["POST"]),
        Route("/upload", _Endpoint(images.upload), methods=["POST"]),
        *images.uploads.routes(),
        Route("/", _Root(images, service), methods=["GET", "POST"]),
        Route("/healthz", service.healthz, methods=["GET"]),
        Route("/readyz", service.readyz, methods=["GET"]),
        Route("/metrics", service.metrics, methods=["GET"]),
        Route("/v1/models", models.get, methods=["GET"]),
        Route("/v1/models/default", models.put_default, methods=["PUT"]),
        Route("/v1/limits", service.limits, methods=["GET"]),
        Route("/openapi.json", service.openapi, methods=["GET"]),
        Route("/docs", service.pages.docs, methods=["GET"]),
        Route("/fleet", service.pages.fleet, methods=["GET"]),
        Route("/assets/{name}", service.pages.asset, methods=["GET"]),
    ]


def _operator_routes(ports: WebPorts, view: FleetView) -> list[Route]:
    fleet = FleetRoutes(view, ports.results)
    letters = DeadLetterRoutes(Redrive(ports.queue, ports.results, ports.clock, map_items=ports.map_items))
    return [
        Route("/v1/fleet", fleet.get, methods=["GET"]),
        Route("/v1/fleet/history", fleet.history, methods=["GET"]),
        Route("/v1/dead-letters", letters.get, methods=["GET"]),
        Route("/v1/dead-letters/{letter_id}/redrive", letters.redrive, methods=["POST"]),
    ]


class _Endpoint:
    """A route's handler as an application: Starlette wraps a plain function in three more coroutines.

    They catch `HTTPException` and close the files of a form; errors go to the middleware here, and no handler
    reads a form with Starlette.
    """

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handler(Request(scope, receive, send))
        await response(scope, receive, send)


class _Root:
    """The root: images of classic clients and of AWS's, and the page; one route, so that Allow names all."""

    def __init__(self, images: ImageRoutes, service: ServiceRoutes) -> None:
        self._images = images
        self._service = service
        self._rekognition = RekognitionRoute(images.classification)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        answer = self._images.upload if request.method == "POST" else self._service.index
        if is_for_rekognition(scope):
            answer = self._rekognition.call
        response = await answer(request)
        await response(scope, receive, send)


class _NotFound:
    """Answers every other path with an error that names the route that was probably meant."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._meant: dict[str, str] = {}
        for route in routes:
            # What changes a job is proposed to no caller, since a program may follow.
            if route.path == "/" or route.path.endswith(("/cancel", "/retry", "/redrive")):
                continue
            methods = "/".join(sorted((route.methods or set()) - {"HEAD", "DELETE"}))
            # A path may also lack the route's last parameter.
            for written in (route.path, route.path.partition("/{")[0]):
                self._meant.setdefault(written, f"{methods} {route.path}")

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
