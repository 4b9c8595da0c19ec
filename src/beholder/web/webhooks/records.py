"""The records of webhooks in the output bucket; the methods block, so the deliverer calls them in threads."""

import contextlib
import json
import logging

from beholder.clock import Clock
from beholder.errors import ObjectNotFound
from beholder.job import is_job_id
from beholder.store.keys import WEBHOOK_SCAN, WEBHOOKS, kept_webhook_key, webhook_key
from beholder.store.port import Store
from beholder.telemetry.log import log_event
from beholder.web.webhooks.record import Webhook, WebhookRecord

__all__ = ["WebhookRecords"]

_log = logging.getLogger(__name__)

_LISTED_MAX = 20_000


class WebhookRecords:
    """Reads and writes the records.

    Args:
        results: The output bucket.
        clock: The time.
    """

    def __init__(self, results: Store, clock: Clock) -> None:
        self._results = results
        self._clock = clock
        self._listed = ""

    def read(self, job_id: str) -> WebhookRecord | None:
        """Return the record of a job; None if there is none, or one of another version, which is left to it.

        Raises:
            BackendError: The bucket does not answer.
        """
        try:
            data = self._results.get(webhook_key(job_id))
        except ObjectNotFound:
            return None
        try:
            return WebhookRecord.from_bytes(data, job_id)
        except ValueError as exc:
            log_event(_log, logging.ERROR, "webhook.unreadable", str(exc), job_id=job_id)
            if _is_torn(data):
                self._results.delete(webhook_key(job_id))
            return None

    def write(self, record: WebhookRecord) -> None:
        """Store a record in place of an earlier one.

        Raises:
            BackendError: The bucket does not answer.
        """
        self._results.put(webhook_key(record.job_id), record.to_bytes())

    def keep(self, record: WebhookRecord) -> None:
        """Keep the webhook of a failed job for its retry, beyond the delivery.

        Raises:
            BackendError: The bucket does not answer.
        """
        self._results.put(kept_webhook_key(record.job_id), record.to_bytes())

    def kept(self, job_id: str) -> Webhook | None:
        """Return the webhook of a failed job; None if it had none.

        Raises:
            BackendError: The bucket does not answer.
        """
        # The record goes only after the other was put.
        for key in (webhook_key(job_id), kept_webhook_key(job_id)):
            with contextlib.suppress(ObjectNotFound, ValueError):
                return WebhookRecord.from_bytes(self._results.get(key), job_id).webhook
        return None

    def delete(self, job_id: str) -> None:
        """Remove a record.

        Raises:
            BackendError: The bucket does not answer.
        """
        self._results.delete(webhook_key(job_id))

    def claim_scan(self, every_s: float) -> bool:
        """Return whether no web process has looked for records within `every_s`; then this one looks.

        Raises:
            BackendError: The bucket does not answer.
        """
        try:
            # A time to come is that of a clock that was set back since.
            if abs(self._clock.now_s() - self._results.head(WEBHOOK_SCAN).stored_at_s) < every_s:
                return False
        except ObjectNotFound:
            pass
        self._results.put(WEBHOOK_SCAN, b"")
        return True

    def job_ids(self) -> list[str]:
        """Return the jobs that have a record, up to 20,000; the next call goes on behind them.

        Raises:
            BackendError: The bucket does not answer.
        """
        found: list[str] = []
        for info in self._results.list(WEBHOOKS, after=self._listed):
            job_id = info.key.removeprefix(WEBHOOKS)
            if is_job_id(job_id):
                found.append(job_id)
            if len(found) == _LISTED_MAX:
                self._listed = info.key
                return found
        self._listed = ""
        return found


def _is_torn(data: bytes) -> bool:
    """Return whether the bytes are no document at all; a power cut can leave an empty file."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return True
    return False
