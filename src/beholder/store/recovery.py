"""Jobs whose message may be lost: which they are, by the buckets, and their messages made anew."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from beholder.errors import BackendError, ObjectNotFound
from beholder.job import JobInput, Message, Options, is_job_id, read_outcome
from beholder.job.ids import created_at_s
from beholder.store.keys import IMAGES, job_id_of_image, result_key
from beholder.store.port import ObjectInfo, Store

__all__ = ["has_outcome", "message_of", "unfinished"]


def message_of(job_id: str, image: ObjectInfo) -> Message:
    """Return the message of a job, made from its image's object.

    The object does not say whether the caller wanted the label as text, so it is stored; nor does it hold a
    deadline, so the job has none. If the metadata is torn, the job loses its options.

    Args:
        job_id: The job.
        image: The image's object, with its metadata.
    """
    submission, options = _submission_of(image.metadata)
    return Message(
        job_id=job_id,
        created_at_s=created_at_s(job_id) or image.stored_at_s,
        input=JobInput(
            image.key,
            str(submission.get("file_name") or image.key.rpartition("/")[2]),
            image.size_bytes,
            options,
        ),
        wants_text=True,
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


def unfinished(images: Store, results: Store) -> Iterator[Message]:
    """Yield a new message for every image whose job has no readable outcome, by job id.

    Raises:
        BackendError: The images cannot be listed.
    """
    for info in images.list(IMAGES):
        job_id = job_id_of_image(info.key)
        if is_job_id(job_id) and not has_outcome(results, job_id):
            try:
                yield message_of(job_id, images.head(info.key))
            except ObjectNotFound:
                continue  # deleted meanwhile
            except BackendError:  # its metadata cannot be read, so this job loses its options
                yield message_of(job_id, info)


def _submission_of(metadata: Mapping[str, str]) -> tuple[dict[str, Any], Options]:
    try:
        submission = json.loads(metadata.get("order", "{}"))
        return submission, Options(**submission.get("options", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}, Options()
