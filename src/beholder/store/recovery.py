"""Jobs whose message may be lost: which they are, by the buckets, and their messages made anew."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from beholder.documents import from_document
from beholder.errors import BackendError, ObjectNotFound
from beholder.job import JobInput, Message, Options, is_job_id, read_outcome
from beholder.job.ids import created_at_s
from beholder.store.keys import IMAGES, is_direct_upload_key, job_id_of_image, resent_key, result_key
from beholder.store.port import ObjectInfo, Store

__all__ = ["SendRecord", "has_outcome", "is_unsubmitted", "message_of", "unfinished"]


# Of an image that was sent by a link, if its record is torn.
_FILE_NAME = "image"


@dataclass(frozen=True, slots=True)
class SendRecord:
    """How often a job's message was sent again, as the output bucket keeps it.

    Args:
        count: How often; the first sending of a direct upload's message counts.
        submission: What the request asked for, in JSON; empty if the image's object has it.
    """

    count: int
    submission: str = ""

    def to_bytes(self) -> bytes:
        """Return the object's bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the object; a torn one, which a power cut leaves, counts as the first sending."""
        try:
            return from_document(cls, json.loads(data))
        except (ValueError, TypeError, RecursionError):
            return cls(1)


def message_of(job_id: str, image: ObjectInfo, results: Store) -> Message:
    """Return the message of a job, made from what the buckets have of its request.

    They do not say whether the caller wanted the label as text, so it is stored; nor do they hold a
    deadline, so the job has none. If the metadata is torn, the job loses its options.

    Args:
        job_id: The job.
        image: The image's object, with its metadata.
        results: The output bucket; it has what was asked for an image that was sent by a link.

    Raises:
        BackendError: The output bucket does not answer.
    """
    if not is_direct_upload_key(image.key):
        return _message_of(job_id, image, image.metadata.get("order", ""))
    try:
        record = SendRecord.from_bytes(results.get(resent_key(job_id)))
    except ObjectNotFound:
        record = SendRecord(0)
    return _message_of(job_id, image, record.submission)


def _message_of(job_id: str, image: ObjectInfo, text: str) -> Message:
    submission, options = _submission_of(text)
    stored_name = _FILE_NAME if is_direct_upload_key(image.key) else image.key.rpartition("/")[2]
    at_s, model = submission.get("created_at_s"), submission.get("model")
    tag, name = submission.get("tag"), str(submission.get("file_name") or stored_name)
    return Message(
        job_id=job_id,
        created_at_s=at_s if isinstance(at_s, float) else created_at_s(job_id) or image.stored_at_s,
        input=JobInput(image.key, name, image.size_bytes, options, tag if isinstance(tag, str) else None),
        wants_text=True,
        model=model if isinstance(model, str) else None,
    )


def has_outcome(results: Store, job_id: str) -> bool:
    """Return whether a job has a readable outcome; an outcome that the store refuses does not count.

    A finished job that is taken for unfinished runs again, and its first outcome stands.
    """
    try:
        read_outcome(results.get(result_key(job_id)), job_id=job_id)
    except (BackendError, ValueError):
        return False
    return True


def is_unsubmitted(results: Store, job_id: str, image_key: str) -> bool:
    """Return whether an image was sent by a link, and no job was made of it yet.

    Raises:
        BackendError: The output bucket does not answer.
    """
    if not is_direct_upload_key(image_key):
        return False
    try:
        results.head(resent_key(job_id))
    except ObjectNotFound:
        return True
    return False


def unfinished(images: Store, results: Store) -> Iterator[Message]:
    """Yield a new message for every image whose job has no readable outcome, by job id.

    Raises:
        BackendError: The images cannot be listed.
    """
    for info in images.list(IMAGES):
        job_id = job_id_of_image(info.key)
        if is_job_id(job_id) and not has_outcome(results, job_id):
            if is_unsubmitted(results, job_id, info.key):
                continue
            try:
                yield message_of(job_id, images.head(info.key), results)
            except ObjectNotFound:
                continue  # deleted meanwhile
            except BackendError:  # its metadata cannot be read, so this job loses its options
                yield _message_of(job_id, info, "")


def _submission_of(text: str) -> tuple[dict[str, Any], Options]:
    try:
        submission = json.loads(text or "{}")
        return submission, from_document(Options, submission.get("options", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}, Options()
