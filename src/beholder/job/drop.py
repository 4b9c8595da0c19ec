"""The drop: an object that any tool put into the bucket, as S3 tells the input queue of it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html (2026-11)
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

__all__ = ["Drop", "Foreign", "Several", "read_event"]

_CREATED = "ObjectCreated:"
_TEST_EVENT = "s3:TestEvent"
# What tells one version of an object from another, the best first; the emulators send no sequencer.
_VERSIONS = ("sequencer", "versionId", "eTag")


@dataclass(frozen=True, slots=True)
class Foreign:
    """A valid body that asks nothing of a worker.

    Args:
        kind: What it is.
        reason: A sentence that says so.
    """

    kind: Literal["test event", "folder marker", "foreign"]
    reason: str


@dataclass(frozen=True, slots=True)
class Several:
    """An event that tells of several objects, as one body for each."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Drop:
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


def read_event(body: bytes) -> Drop | Foreign | Several | None:
    """Read a body that is no message known here; None where it says that it is one.

    Raises:
        MessageInvalid: It is no JSON object, or an event of S3 of another shape than S3's.
    """
    try:
        document = json.loads(body)
        if "v" in _object(document):
            return None
        if document.get("Event") == _TEST_EVENT:
            return Foreign("test event", f"S3 tests its notifications from {document.get('Bucket')!r}")
        if "Records" not in document:
            return Foreign("foreign", f"neither a message nor an event of S3: {sorted(document)!r:.200}")
        return _read_records(document["Records"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise MessageInvalid(f"not an event of S3: {type(exc).__name__}: {exc}") from exc


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError(f"a body is {type(document).__name__}, not an object")
    return document


def _read_records(records: list[Any]) -> Drop | Foreign | Several:
    if not isinstance(records, list):
        raise TypeError(f"Records is {records!r:.80}")
    if not records:
        return Foreign("foreign", "an event without records")
    if len(records) > 1:
        return Several(tuple(json.dumps({"Records": [one]}).encode() for one in records))
    return _read_record(records[0])


def _read_record(record: Mapping[str, Any]) -> Drop | Foreign:
    source = record.get("eventSource")
    if source != "aws:s3":
        return Foreign("foreign", f"an event of {source!r:.80}, not of S3")
    name = record["eventName"].removeprefix("s3:")
    if not name.startswith(_CREATED):
        return Foreign("foreign", f"an event of the kind {name!r:.80}, which puts no object")
    found = record["s3"]["object"]
    bucket, size_bytes = record["s3"]["bucket"]["name"], found["size"]
    if not isinstance(bucket, str) or not isinstance(size_bytes, int):
        raise TypeError(f"bucket is {bucket!r:.80}, size is {size_bytes!r:.80}")
    # S3 sends a blank as a plus, and slashes as they are; what emulators encode besides decodes to the same.
    key = unquote_plus(found["key"], errors="strict")
    (key + bucket).encode()  # half a surrogate pair could not be written into the result
    version = next((str(found[one]) for one in _VERSIONS if found.get(one)), "")
    return Drop(bucket, key, size_bytes, version, _time_of(record.get("eventTime")))


def _time_of(text: object) -> float | None:
    """Return an event's time; what cannot be read costs the job its time of creation and nothing else."""
    try:
        time = datetime.fromisoformat(str(text))
        time_s = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return time_s if 0 <= time_s < TIME_MAX_S else None
