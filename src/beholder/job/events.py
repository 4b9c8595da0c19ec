"""The upload event: S3's notice in the input queue that a tool put an object into the bucket.

It comes from S3 itself, or through an SNS topic, EventBridge, or the destination of a Lambda function.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html,
https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html and
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html (all 2026-11)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

from beholder.clock import time_s_of
from beholder.job.ids import job_id_from_key
from beholder.job.job import JobInput
from beholder.job.message import TIME_MAX_S, Message, MessageInvalid

__all__ = ["EventBatch", "UnknownMessage", "UploadEvent", "read_event"]

_CREATED = "ObjectCreated:"
_TEST_EVENT = "s3:TestEvent"
# Members that distinguish the versions of an object, by their names in S3 and in EventBridge, the best first;
# the emulators send no sequencer.
_VERSIONS = ("sequencer", "versionId", "version-id", "eTag", "etag")
# Envelopes inside one another; more are a mistake or an attack.
_ENVELOPES_MAX = 5


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A valid body that asks nothing of a worker; no image is lost when it is dropped.

    Args:
        kind: The kind of body.
        reason: The kind in a sentence.
    """

    kind: Literal["test event", "folder marker", "no upload"]
    reason: str


@dataclass(frozen=True, slots=True)
class EventBatch:
    """An event about several objects, split into one body for each."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UploadEvent:
    """One object that was put into a bucket.

    Args:
        bucket: Name of the bucket.
        key: The object's key, decoded.
        size_bytes: Length of the object when it was put.
        version: Distinguishes the object from earlier and later objects of the same key.
        put_at_s: When the object was put, seconds since the Unix epoch; None if that cannot be read.
    """

    bucket: str
    key: str
    size_bytes: int
    version: str
    put_at_s: float | None

    @property
    def job_id(self) -> str:
        """The id of the event's job, the same for every delivery of the event."""
        object_name = f"{len(self.key)}:{self.key}{self.version}"
        return job_id_from_key(self.bucket, object_name, epoch_s=self.put_at_s or 0.0)

    def to_message(self, now_s: float) -> Message:
        """Return the message of a job with default options, for which no caller waits."""
        return Message(
            job_id=self.job_id,
            created_at_s=now_s if self.put_at_s is None else self.put_at_s,
            input=JobInput(self.key, self.key.rpartition("/")[2], self.size_bytes),
        )


def read_event(body: bytes) -> UploadEvent | UnknownMessage | EventBatch | None:
    """Read a body as an event; return None if it has the version of a `Message`.

    Raises:
        MessageInvalid: The body is not a known event of S3, by itself or in an envelope.
    """
    try:
        document = _object(json.loads(body))
        if "v" in document:
            return None
        return _read(document, _ENVELOPES_MAX)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise MessageInvalid(f"not an event of S3: {type(exc).__name__}: {exc}") from exc


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError(f"a body is {type(document).__name__}, not an object")
    return document


def _read(document: dict[str, Any], envelopes: int) -> UploadEvent | UnknownMessage | EventBatch:
    if document.get("Event") == _TEST_EVENT:
        return UnknownMessage("test event", f"S3 tests its notifications from {document.get('Bucket')!r}")
    if "Records" in document:
        return _read_records(document["Records"], envelopes)
    if "eventSource" in document or "EventSource" in document:  # a bare record, as EventBridge Pipes sends it
        return _read_records([document], envelopes)
    if document.get("source") == "aws.s3" and "detail-type" in document:
        return _read_eventbridge(document)
    if "requestPayload" in document:  # the destination of a Lambda function
        return _open(document["requestPayload"], envelopes)
    kind = document.get("Type")
    if kind == "Notification":
        return _open(document["Message"], envelopes)
    if kind in {"SubscriptionConfirmation", "UnsubscribeConfirmation"}:
        raise ValueError(
            f"SNS sent a {kind} of {document.get('TopicArn')!r:.200}; the owner of the queue must confirm it"
        )
    raise ValueError(f"neither a message nor an event: {sorted(document)!r:.200}")


def _open(content: object, envelopes: int) -> UploadEvent | UnknownMessage | EventBatch:
    """Read the content of an envelope, which is JSON text or an object."""
    if not envelopes:
        raise ValueError(f"more than {_ENVELOPES_MAX} envelopes, one in the other")
    return _read(_object(json.loads(content) if isinstance(content, str) else content), envelopes - 1)


def _read_records(records: list[Any], envelopes: int) -> UploadEvent | UnknownMessage | EventBatch:
    if not isinstance(records, list):
        raise TypeError(f"Records is {records!r:.80}")
    if not records:
        return UnknownMessage("no upload", "an event without records")
    if len(records) > 1:
        return EventBatch(tuple(json.dumps({"Records": [record]}).encode() for record in records))
    record = _object(records[0])
    source = record.get("eventSource", record.get("EventSource"))
    match source:
        case "aws:sns":  # the form in which SNS and SQS call a Lambda function
            return _open(record["Sns"]["Message"], envelopes)
        case "aws:sqs":
            return _open(record["body"], envelopes)
        case str() if source.endswith(":s3"):
            return _read_record(record)
    raise ValueError(f"an event of {source!r:.80}, not of S3")


def _read_record(record: Mapping[str, Any]) -> UploadEvent | UnknownMessage:
    name = record["eventName"].removeprefix("s3:")
    if not name.startswith(_CREATED):
        return UnknownMessage("no upload", f"an event of the kind {name!r:.80}, which puts no object")
    found = record["s3"]["object"]
    # S3 sends a space as a plus and does not encode slashes; what emulators also encode decodes the same way.
    key = unquote_plus(found["key"], errors="strict")
    return _upload_event(record["s3"]["bucket"]["name"], key, found, record.get("eventTime"))


def _read_eventbridge(document: Mapping[str, Any]) -> UploadEvent | UnknownMessage:
    name = document["detail-type"]
    if name != "Object Created":
        return UnknownMessage("no upload", f"an event of the kind {name!r:.80}, which puts no object")
    detail = document["detail"]
    found = detail["object"]
    # Unlike S3, EventBridge does not encode keys.
    return _upload_event(detail["bucket"]["name"], found["key"], found, document.get("time"))


def _upload_event(bucket: object, key: object, found: Mapping[str, Any], time: object) -> UploadEvent:
    size_bytes = found["size"]
    if not isinstance(bucket, str) or not isinstance(key, str) or not isinstance(size_bytes, int):
        raise TypeError(f"bucket is {bucket!r:.80}, key is {key!r:.80}, size is {size_bytes!r:.80}")
    (key + bucket).encode()  # fails for a lone surrogate, which no result can contain
    version = next((str(found[member]) for member in _VERSIONS if found.get(member)), "")
    time_s = time_s_of(time)
    is_usable = time_s is not None and 0 <= time_s < TIME_MAX_S
    return UploadEvent(bucket, key, size_bytes, version, time_s if is_usable else None)
