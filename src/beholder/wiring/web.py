"""One web process, built from a profile."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from beholder import __version__
from beholder.api_keys import KnownKeys
from beholder.config import Settings
from beholder.config.models import served_specs
from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.model.port import ModelSpec
from beholder.runner import persist
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import WebApp, build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.upload import Fetch
from beholder.wiring.locks import only_process_of
from beholder.wiring.profile import Profile

__all__ = ["open_web"]


@contextmanager
def open_web(profile: Profile, name: str, *, connections_max: int) -> Iterator[WebApp]:
    """Open the application of one web process.

    Args:
        profile: Of the deployment.
        name: Unique among the web processes; its reply queue is named after it.
        connections_max: Connections that it takes at once.
    """
    settings, telemetry, never = profile.settings, Telemetry(), threading.Event()
    with ExitStack() as stack:
        backends = persist("start", lambda: stack.enter_context(profile.open_backends(name)), never)
        stack.enter_context(only_process_of(settings.deployment.data_dir, name))
        replies = persist("start", lambda: stack.enter_context(backends.own_replies(name)), never)
        scaling = stack.enter_context(profile.open_scaling(backends, name, telemetry))
        limits = replace(settings.limits, connections_max=connections_max)
        per_image, pace = backends.per_image, backends.pace
        ports = WebPorts(
            queue=backends.queue,
            replies=replies.queue,
            reply_to=replies.name,
            images=backends.images,
            results=backends.results,
            models=tuple(_served(spec) for spec in served_specs(settings)),
            clock=backends.clock,
            keys=KnownKeys(backends.results, backends.clock) if settings.web.keys == "on" else None,
            limits=limits,
            fetch=_fetch_of(settings, limits),
            telemetry=telemetry,
            version=__version__,
            submit_threads=per_image.submit_threads,
            submit_batch_max=per_image.submit_batch_max,
            submit_gather_s=per_image.submit_gather_s,
            map_items=per_image.map_items,
            inline_bytes_max=per_image.inline_bytes_max,
            depth_every_s=pace.depth_every_s,
            depth_lag_s=pace.drain.lag_s,
            ready_every_s=pace.ready_every_s,
            startup_s=profile.first_job_s,
            receive_wait_s=pace.receive_wait_s,
            calls=backends.calls,
            on_sent=scaling.on_sent,
            access_log=settings.log.access_log == "all",
        )
        writer = DeadLetterWriter(
            backends.results, backends.replies, backends.clock, input_bucket=profile.event_bucket
        )
        dead_letter_consumer = DeadLetterConsumer(backends.dead_letters, writer, wait_s=pace.receive_wait_s)
        ticks = {"dead_letters": dead_letter_consumer.tick, **replies.ticks, **scaling.ticks}
        yield build_app(ports, ticks=ticks, notifiers=scaling.notifiers, interrupt=backends.interrupt)


def _fetch_of(settings: Settings, limits: WebLimits) -> Fetch | None:
    """Return what fetches images from addresses; None if they are refused, which needs no HTTP client."""
    if settings.web.url_inputs == "off":
        return None
    from beholder.web.submission.addresses import UrlPolicy  # noqa: PLC0415
    from beholder.web.submission.fetcher import UrlFetcher  # noqa: PLC0415

    schemes = frozenset({"https", settings.web.url_inputs})
    return UrlFetcher(UrlPolicy(schemes), limits).fetch


def _served(spec: ModelSpec) -> ServedModel:
    return ServedModel(
        name=spec.name,
        version=spec.version,
        licence=spec.licence,
        source=spec.source,
        classes=len(spec.labels),
        preprocessing=str(spec.preprocessing.kind),
        input_size=spec.preprocessing.size,
    )
