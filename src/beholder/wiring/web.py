"""One web process, built from a profile."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from beholder import __version__
from beholder.api_keys import KnownKeys
from beholder.config import Settings
from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.model.port import ModelSpec
from beholder.runner import persist
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import WebApp, build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.upload import Fetch, FetchS3, ImageFetchers
from beholder.web.webhooks.ports import WebhookPorts
from beholder.wiring.locks import only_process_of
from beholder.wiring.models import served_specs
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
        models = {_served(spec): spec for spec in served_specs(settings)}
        per_image = backends.per_image
        ports = WebPorts(
            queue=backends.queue,
            replies=replies.source,
            reply_to=replies.name,
            images=backends.images,
            results=backends.results,
            models=tuple(models),
            labels={served.reference: spec.labels for served, spec in models.items()},
            clock=backends.clock,
            keys=KnownKeys(backends.results, backends.clock) if settings.web.keys == "on" else None,
            limits=limits,
            presign=backends.presign,
            fetchers=ImageFetchers(_fetch_of(settings, limits), _fetch_s3_of(settings, limits)),
            telemetry=telemetry,
            version=__version__,
            submit_threads=per_image.submit_threads,
            submit_batch_max=per_image.submit_batch_max,
            submit_gather_s=per_image.submit_gather_s,
            submit_loop_bytes_max=per_image.submit_loop_bytes_max,
            map_items=per_image.map_items,
            inline_bytes_max=per_image.inline_bytes_max,
            depth_every_s=backends.pace.depth_every_s,
            depth_lag_s=backends.pace.drain.lag_s,
            ready_every_s=backends.pace.ready_every_s,
            startup_s=profile.first_job_s,
            calls=backends.calls,
            running=backends.running,
            on_sent=scaling.on_sent,
            webhooks=_webhooks_of(settings, name),
            access_log=settings.log.access_log == "all",
        )
        writer = DeadLetterWriter(
            backends.results, backends.replies, backends.clock, input_bucket=profile.event_bucket
        )
        dead_letter_consumer = DeadLetterConsumer(
            backends.dead_letters, writer, wait_s=backends.pace.receive_wait_s
        )
        _watch(ports, dead_letter_consumer)
        ticks = {"dead_letters": dead_letter_consumer.tick, **replies.ticks, **scaling.ticks}
        yield build_app(ports, ticks=ticks, notifiers=scaling.notifiers, interrupt=backends.interrupt)


def _watch(ports: WebPorts, dead_letter_consumer: DeadLetterConsumer) -> None:
    ports.telemetry.watch(
        "beholder_dead_letters_total",
        "Messages of the dead-letter queue that this process kept as dead letters.",
        lambda: {"": dead_letter_consumer.given_up},
    )


def _fetch_of(settings: Settings, limits: WebLimits) -> Fetch | None:
    """Return what fetches images from addresses; None if they are refused, which needs no HTTP client."""
    if settings.web.url_inputs == "off":
        return None
    from beholder.web.submission.addresses import UrlPolicy  # noqa: PLC0415
    from beholder.web.submission.fetcher import UrlFetcher  # noqa: PLC0415

    schemes = frozenset({"https", settings.web.url_inputs})
    return UrlFetcher(UrlPolicy(schemes), limits).fetch


def _fetch_s3_of(settings: Settings, limits: WebLimits) -> FetchS3 | None:
    """Return what reads images from buckets; None if no bucket is allowed, which needs no client of S3."""
    if not settings.web.s3_inputs:
        return None
    from beholder.web.submission.s3_objects import S3Fetcher  # noqa: PLC0415
    from beholder.wiring.aws import open_reader  # noqa: PLC0415

    reader = open_reader(settings.deployment.region, timeout_s=limits.fetch_s_max)
    return S3Fetcher(settings.web.s3_inputs, reader.open, limits).fetch


def _webhooks_of(settings: Settings, name: str) -> WebhookPorts | None:
    """Return how webhooks leave; None if they are off, which needs no HTTP client."""
    secrets_path = settings.web.webhook_secrets
    if settings.web.webhooks == "off" or secrets_path is None:
        return None
    from beholder.web.webhooks.sender import WebhookSender, webhook_policy  # noqa: PLC0415
    from beholder.web.webhooks.signing import read_secrets  # noqa: PLC0415

    schemes = frozenset({"https", settings.web.webhooks})
    sender = WebhookSender(webhook_policy(schemes, settings.web.webhook_networks))
    # Two machines may give their processes the same name.
    owner = f"{name}@{socket.gethostname()}"
    return WebhookPorts(sender.check, sender.post, read_secrets(secrets_path), owner)


def _served(spec: ModelSpec) -> ServedModel:
    return ServedModel(
        name=spec.name,
        version=spec.version,
        licence=spec.licence,
        source=spec.source,
        classes=len(spec.labels),
        preprocessing=str(spec.preprocessing.kind),
        input_size=spec.preprocessing.size,
        is_multi_label=spec.is_multi_label,
        crop_fraction=1.0 if spec.preprocessing.size is None else spec.preprocessing.crop_fraction,
        embedding_size=spec.embedding_size or None,
    )
