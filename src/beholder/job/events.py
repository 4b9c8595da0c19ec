"""The drop: an object that any tool put into the bucket, as S3 tells the input queue of it.

S3 tells it by itself, or through an SNS topic, EventBridge, or the destination of a Lambda function.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html,
https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html and
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html (all 2026-11)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote_plus

from beholder.job.ids import job_id_from_key
from beholder.job.job import JobInput
from beholder.job.message import TIME_MAX_S, Message, MessageInvalid

__all__ = ["EventBatch", "UnknownMessage", "UploadEvent", "read_event"]

_CREATED = "ObjectCreated:"
_TEST_EVENT = "s3:TestEvent"
# What tells one version of an object from another, the best first, by S3's name and by EventBridge's; the
# emulators send no sequencer.
_VERSIONS = ("sequencer", "versionId", "version-id", "eTag", "etag")
# An envelope inside an envelope, and so on: more are a mistake, or malice.
_ENVELOPES_MAX = 5


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A body that is understood and asks nothing of a worker: no image is lost with it.

    Args:
        kind: What it is.
        reason: A sentence that says so.
    """

    kind: Literal["test event", "folder marker", "foreign"]
    reason: str


@dataclass(frozen=True, slots=True)
class EventBatch:
    """An event that tells of several objects, as one body for each."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UploadEvent:
    """One object that was put into a bucket.

    Args:
        bucket: The bucket.
        key: Its key, decoded.
        size_bytes: Its length when it was put.
        version: What tells it from an earlier or later object of the same key.
        put_at_s: When it was put, seconds since the Unix epoch; None where that cannot be read.
    """

    bucket: str
    key: str
    size_bytes: int
    version: str
    put_at_s: float | None

    @property
    def job_id(self) -> str:
        """The same for every delivery of the same event."""
        object_name = f"{len(self.key)}:{self.key}{self.version}"
        return job_id_from_key(self.bucket, object_name, epoch_s=self.put_at_s or 0.0)

    def to_message(self, now_s: float) -> Message:
        """Return the drop as a job with options of the default, to which nobody waits for a reply."""
        return Message(
            job_id=self.job_id,
            created_at_s=now_s if self.put_at_s is None else self.put_at_s,
            input=JobInput(self.key, self.key.rpartition("/")[2], self.size_bytes),
        )


def read_event(body: bytes) -> UploadEvent | UnknownMessage | EventBatch | None:
    """Read a body that is no message known here; None where it says that it is one.

    Raises:
        MessageInvalid: It is no event of S3 that is understood here, by itself or in an envelope.
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
    if (
        "eventSource" in document or "EventSource" in document
    ):  # a record by itself, as EventBridge Pipes sends it
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
            f"SNS sent a {kind} of {document.get('TopicArn')!r:.200}; whoever owns the queue answers it"
        )
    raise ValueError(f"neither a message nor an event: {sorted(document)!r:.200}")


def _open(content: object, envelopes: int) -> UploadEvent | UnknownMessage | EventBatch:
    """Read what an envelope holds, as a text or as it is."""
    if not envelopes:
        raise ValueError(f"more than {_ENVELOPES_MAX} envelopes, one in the other")
    return _read(_object(json.loads(content) if isinstance(content, str) else content), envelopes - 1)


def _read_records(records: list[Any], envelopes: int) -> UploadEvent | UnknownMessage | EventBatch:
    if not isinstance(records, list):
        raise TypeError(f"Records is {records!r:.80}")
    if not records:
        return UnknownMessage("foreign", "an event without records")
    if len(records) > 1:
        return EventBatch(tuple(json.dumps({"Records": [one]}).encode() for one in records))
    record = _object(records[0])
    source = record.get("eventSource", record.get("EventSource"))
    match source:
        case "aws:sns":  # as SNS and SQS hand events to a Lambda function that sends them on
            return _open(record["Sns"]["Message"], envelopes)
        case "aws:sqs":
            return _open(record["body"], envelopes)
        case str() if source.endswith(":s3"):
            return _read_record(record)
    raise ValueError(f"an event of {source!r:.80}, not of S3")


def _read_record(record: Mapping[str, Any]) -> UploadEvent | UnknownMessage:
    name = record["eventName"].removeprefix("s3:")
    if not name.startswith(_CREATED):
        return UnknownMessage("foreign", f"an event of the kind {name!r:.80}, which puts no object")
    found = record["s3"]["object"]
    # S3 sends a blank as a plus, and slashes as they are; what emulators encode besides decodes to the same.
    key = unquote_plus(found["key"], errors="strict")
    return _drop(record["s3"]["bucket"]["name"], key, found, record.get("eventTime"))


def _read_eventbridge(document: Mapping[str, Any]) -> UploadEvent | UnknownMessage:
    name = document["detail-type"]
    if name != "Object Created":
        return UnknownMessage("foreign", f"an event of the kind {name!r:.80}, which puts no object")
    detail = document["detail"]
    found = detail["object"]
    return _drop(
        detail["bucket"]["name"], found["key"], found, document.get("time")
    )  # here keys are not encoded


def _drop(bucket: object, key: object, found: Mapping[str, Any], time: object) -> UploadEvent:
    size_bytes = found["size"]
    if not isinstance(bucket, str) or not isinstance(key, str) or not isinstance(size_bytes, int):
        raise TypeError(f"bucket is {bucket!r:.80}, key is {key!r:.80}, size is {size_bytes!r:.80}")
    (key + bucket).encode()  # half a surrogate pair could not be written into the result
    version = next((str(found[one]) for one in _VERSIONS if found.get(one)), "")
    return UploadEvent(bucket, key, size_bytes, version, _time_of(time))


def _time_of(text: object) -> float | None:
    """Return an event's time; what cannot be read costs the job its time of creation and nothing else."""
    try:
        time = datetime.fromisoformat(str(text))
        time_s = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return time_s if 0 <= time_s < TIME_MAX_S else None
