"""The events of a job as receivers get them: the body, its signature, and what is sent of which job."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from beholder.clock import Clock, age_s, utc_text
from beholder.job import Job
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.record import COMPLETED, OUTPUT, START, Webhook, WebhookRecord
from beholder.web.webhooks.schedule import Attempt
from beholder.web.webhooks.signing import signed_headers

__all__ = ["EventBody", "EventSender", "job_body"]

EventBody = Callable[[str, Job, Webhook], dict[str, Any]]
"""Returns the body of an event of a job."""

_BODY_BYTES_MAX = 65_536
# Cog sends no event but `completed` so soon after another one.
_THROTTLE_S = 0.5
_NOTHING_LEFT = Attempt(HTTPStatus.OK)


class EventSender:
    """Sends events.

    Args:
        ports: How webhooks leave.
        clock: The time.
        bodies: The forms of a body, by name.
    """

    def __init__(self, ports: WebhookPorts, clock: Clock, bodies: Mapping[str, EventBody]) -> None:
        self._ports = ports
        self._clock = clock
        self._bodies = bodies

    async def send_outcome(self, record: WebhookRecord, job: Job) -> Attempt:
        """Send what a finished job has left: `output` once, and then `completed`; return what decides."""
        webhook = record.webhook
        if record.attempts == 0 and _has_output(record, job):
            sent = await self.send(OUTPUT, job, webhook)
            if sent.status == HTTPStatus.GONE:
                return sent
        return await self.send(COMPLETED, job, webhook) if COMPLETED in webhook.events else _NOTHING_LEFT

    async def send(self, event: str, job: Job, webhook: Webhook) -> Attempt:
        """Send one event once."""
        body = self._body(event, job, webhook)
        webhook_id = webhook.id if event == COMPLETED else f"{webhook.id}-{event}"
        headers = signed_headers(self._ports.secrets, webhook_id, self._clock.now_s(), body)
        return await self._ports.post(webhook.url, headers, body)

    def _body(self, event: str, job: Job, webhook: Webhook) -> bytes:
        """Return the body; of many labels, as many of the best as fit."""
        while True:
            document = self._bodies[webhook.form](event, job, webhook)
            body = json.dumps(document, ensure_ascii=False).encode()
            if len(body) <= _BODY_BYTES_MAX or job.result is None or not job.labels:
                return body
            job = replace(job, result=replace(job.result, labels=job.labels[: len(job.labels) // 2]))


def job_body(event: str, job: Job, _: Webhook) -> dict[str, Any]:
    """Return an event in the form that Standard Webhooks recommends, with the job as `/v1/jobs` has it.

    Source: Standard Webhooks specification, "Payload structure" (read 2026-11).
    """
    at_s = job.completed_at_s or job.created_at_s
    return {"type": f"job.{event}", "timestamp": utc_text(at_s), "data": job.to_dict()}


def _has_output(record: WebhookRecord, job: Job) -> bool:
    events = record.webhook.events
    if job.result is None or OUTPUT not in events:
        return False
    took_s = age_s(job.completed_at_s or record.created_at_s, record.created_at_s)
    return START not in events or took_s >= _THROTTLE_S
