"""What a route hands to the submission service, and what it gets back."""

import asyncio
from dataclasses import dataclass

from beholder.job import Job, Options
from beholder.queue.port import Priority

__all__ = ["Outcome", "PendingJob", "SubmissionRequest"]


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """An image that was checked, and what its caller asks for.

    Args:
        data: The image file.
        file_name: The name of the file as sent; it becomes a part of the object's key.
        options: For the classifier.
        is_heavy: Whether decoding the image takes much time or memory.
        wants_text: Whether the caller is a classic client, which expects the label as text.
        deadline_s: When the outcome becomes worthless, seconds since the Unix epoch; None for never.
        idempotency_key: Identifies this request across repetitions; None if it has none.
        priority: The class of the job's message; the submission service sets it.
    """

    data: bytes
    file_name: str
    options: Options
    is_heavy: bool = False
    wants_text: bool = False
    deadline_s: float | None = None
    idempotency_key: str | None = None
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job, and its document as the output bucket has it."""

    job: Job
    document: bytes


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that was submitted, and the future of its outcome; None if the caller does not wait."""

    job: Job
    future: asyncio.Future[Outcome] | None
