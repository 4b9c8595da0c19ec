"""What the input queue carries: a job, an event of an object that a tool put into the bucket, or neither."""

from dataclasses import dataclass

from beholder.job import Message, MessageInvalid
from beholder.job.events import EventBatch, UnknownMessage, UploadEvent, read_event
from beholder.store.keys import IMAGES, check_key, is_drop_key, upload_result_key

__all__ = ["ParsedMessage", "parse_body"]


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A job to do.

    Args:
        message: The job.
        is_upload: It comes from an upload event, so its outcome is stored under the object's key.
    """

    message: Message
    is_upload: bool = False


def parse_body(
    body: bytes, *, input_bucket: str, now_s: float
) -> ParsedMessage | UnknownMessage | EventBatch:
    """Parse the body of a message.

    Args:
        body: As it was received.
        input_bucket: The bucket whose upload events are taken; empty to take none.
        now_s: The present, for upload events without a time.

    Raises:
        MessageInvalid: The body is no message of a known version and no known event; or the event is of
            another bucket, or of a key that a store does not take.
    """
    try:
        return ParsedMessage(Message.from_bytes(body))
    except MessageInvalid as exc:
        # Nearly every body is a message, so only the others are parsed twice.
        event = read_event(body)
        if event is None:
            raise MessageInvalid(exc.message) from exc
    return _parse_upload(event, input_bucket, now_s) if isinstance(event, UploadEvent) else event


def _parse_upload(upload: UploadEvent, input_bucket: str, now_s: float) -> ParsedMessage | UnknownMessage:
    if upload.bucket != input_bucket:
        expected = f"the input bucket is {input_bucket!r}" if input_bucket else "no upload events are taken"
        raise MessageInvalid(f"an object was put into {upload.bucket!r:.80}, and {expected}")
    if not is_drop_key(upload.key):
        if upload.key.startswith(IMAGES):
            return UnknownMessage("no upload", f"an event of {upload.key!r:.200}, which a web process put")
        raise MessageInvalid(f"an object was put at {upload.key!r:.200}, not under drop/")
    if upload.key.endswith("/") and not upload.size_bytes:
        return UnknownMessage("folder marker", f"{upload.key!r:.200} marks a folder")
    try:
        check_key(upload_result_key(upload.key))
    except ValueError as exc:
        raise MessageInvalid(f"an uploaded object cannot be read: {exc}") from exc
    return ParsedMessage(upload.to_message(now_s), is_upload=True)
