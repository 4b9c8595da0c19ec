"""What came over the input queue: a job, an object that was dropped into the bucket, or nothing to do."""

from dataclasses import dataclass

from beholder.job import Message, MessageInvalid
from beholder.job.events import EventBatch, UnknownMessage, UploadEvent, read_event
from beholder.store.keys import IMAGES, check_key, drop_result_key, is_drop_key

__all__ = ["ParsedMessage", "sort_body"]


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A job to do.

    Args:
        message: What it is.
        is_drop: It was dropped into the bucket; its result belongs to its key.
    """

    message: Message
    is_drop: bool = False


def sort_body(body: bytes, *, input_bucket: str, now_s: float) -> ParsedMessage | UnknownMessage | EventBatch:
    """Say what a body is.

    Args:
        body: As it was received.
        input_bucket: Whose events tell of drops; empty where none do.
        now_s: The time, for drops that do not tell theirs.

    Raises:
        MessageInvalid: Nothing is known to do with it: it is no message of a version known here, and no event
            that is understood, or one of another bucket, or of a key which a store does not take.
    """
    try:
        return ParsedMessage(Message.from_bytes(body))
    except MessageInvalid as exc:
        # Nearly every body is a message, so the others are parsed twice and not these.
        event = read_event(body)
        if event is None:
            raise MessageInvalid(exc.message) from exc
    return _sort_drop(event, input_bucket, now_s) if isinstance(event, UploadEvent) else event


def _sort_drop(drop: UploadEvent, input_bucket: str, now_s: float) -> ParsedMessage | UnknownMessage:
    if drop.bucket != input_bucket:
        ours = f"the input bucket is {input_bucket!r}" if input_bucket else "no drop is taken here"
        raise MessageInvalid(f"an object was put into {drop.bucket!r:.80}, and {ours}")
    if not is_drop_key(drop.key):
        if drop.key.startswith(IMAGES):
            return UnknownMessage("foreign", f"an event of {drop.key!r:.200}, which a web process put")
        raise MessageInvalid(f"an object was put at {drop.key!r:.200}, and only those under drop/ are taken")
    if drop.key.endswith("/") and not drop.size_bytes:
        return UnknownMessage("folder marker", f"{drop.key!r:.200} marks a folder")
    try:
        check_key(drop_result_key(drop.key))
    except ValueError as exc:
        raise MessageInvalid(f"a dropped object cannot be read: {exc}") from exc
    return ParsedMessage(drop.to_message(now_s), is_drop=True)
