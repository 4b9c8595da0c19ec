"""Builds the deliverer of a web process, and runs it."""

import contextlib
from collections.abc import AsyncIterator

from beholder.runner import Runner
from beholder.telemetry.metrics import Telemetry
from beholder.web.ports import WebPorts
from beholder.web.routes.compat import cog
from beholder.web.submission.lookup import JobLookup
from beholder.web.webhooks.deliverer import WebhookDeliverer
from beholder.web.webhooks.events import EventSender, job_body
from beholder.web.webhooks.records import WebhookRecords

__all__ = ["delivering", "open_deliverer", "watch_webhooks"]


def open_deliverer(ports: WebPorts, lookup: JobLookup) -> WebhookDeliverer | None:
    """Return what delivers webhooks; None if there are none."""
    if ports.webhooks is None:
        return None
    sender = EventSender(ports.webhooks, ports.clock, {"job": job_body, "cog": cog.event_body})
    records = WebhookRecords(ports.results, ports.clock)
    return WebhookDeliverer(
        ports.webhooks, records, sender, lookup=lookup, telemetry=ports.telemetry, clock=ports.clock
    )


@contextlib.asynccontextmanager
async def delivering(webhooks: WebhookDeliverer | None, runner: Runner) -> AsyncIterator[None]:
    """Deliver webhooks, if there are any, until the end of the block."""
    if webhooks is None:
        yield
        return
    webhooks.start()
    runner.start("webhooks", webhooks.tick)
    try:
        yield
    finally:
        await webhooks.stop()


def watch_webhooks(telemetry: Telemetry, webhooks: WebhookDeliverer | None) -> None:
    """Report how many webhooks wait, at each scrape."""
    telemetry.watch(
        "beholder_webhooks_waiting",
        "Webhooks that this process watches, of unfinished jobs too.",
        lambda: {"": webhooks.waiting if webhooks else 0},
    )
