"""What a request asks for as a webhook, and the record of it in the output bucket until it is delivered."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from beholder.documents import from_document, to_document
from beholder.errors import BadParameter

__all__ = ["COMPLETED", "EVENTS", "OUTPUT", "START", "Webhook", "WebhookRecord", "read_events"]

START, OUTPUT, LOGS, COMPLETED = "start", "output", "logs", "completed"
EVENTS = (START, OUTPUT, LOGS, COMPLETED)
"""The events of Cog. No model here writes logs, so `logs` never occurs."""
_SHOWN_CHARS_MAX = 50
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a job's events are sent.

    Args:
        url: The address.
        events: Which events are sent.
        form: Whose form the bodies have: that of `/v1/jobs`, or Cog's.
        client_id: The client's own id of the job, in Cog's form; empty if it has none.
        id: Names the deliveries; the submission service sets it.
    """

    url: str
    events: tuple[str, ...] = (COMPLETED,)
    form: Literal["job", "cog"] = "job"
    client_id: str = ""
    id: str = ""

    @property
    def is_recorded(self) -> bool:
        """Whether an event follows that a restart must not lose."""
        return OUTPUT in self.events or COMPLETED in self.events


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook that is not delivered yet.

    Args:
        job_id: Its job.
        webhook: What the request asked for.
        owner: The name of the web process that delivers it.
        created_at_s: When the job was accepted, seconds since the Unix epoch.
        due_at_s: When the next attempt is due; no attempt is made before the job has its outcome.
        attempts: How many attempts failed.
    """

    job_id: str
    webhook: Webhook
    owner: str
    created_at_s: float
    due_at_s: float
    attempts: int = 0

    def to_bytes(self) -> bytes:
        """Return the object's bytes."""
        return json.dumps(to_document(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes, job_id: str) -> Self:
        """Read the object.

        Args:
            data: The object's bytes.
            job_id: The job that it must be of.

        Raises:
            ValueError: It is torn, or of another version or job.
        """
        try:
            record = from_document(cls, json.loads(data))
        except (TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise ValueError(f"not a webhook: {type(exc).__name__}: {exc}") from exc
        if record.job_id != job_id or not _ID.fullmatch(record.webhook.id):
            raise ValueError(f"not the webhook of {job_id}")
        # What is signed and compared is text of ours; lists of JSON are read as tuples.
        return replace(record, webhook=replace(record.webhook, events=tuple(record.webhook.events)))


def read_events(given: Any) -> tuple[str, ...]:
    """Return the events of a `webhook_events_filter`; without one, or with an empty one, all.

    Raises:
        BadParameter: It is no list of events.
    """
    if given is None or given == []:
        return EVENTS
    names: Collection[Any] = given if isinstance(given, list) else (given,)
    for name in names:
        if name not in EVENTS:
            raise BadParameter(
                f"webhook_events_filter has {str(name)[:_SHOWN_CHARS_MAX]!r}; "
                f"send a list of {', '.join(EVENTS)}"
            )
    return tuple(event for event in EVENTS if event in names)
