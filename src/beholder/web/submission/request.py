"""What a route hands to the submission service, and what it gets back."""

import asyncio
from dataclasses import dataclass

from beholder.job import Job, Message, Options
from beholder.queue.port import Priority
from beholder.store.port import Store
from beholder.web.submission.upload import StoredImage
from beholder.web.webhooks.record import Webhook

__all__ = ["Outcome", "PendingJob", "SubmissionRequest", "Unsent"]


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
        job_id: The id that the job is given, which identifies the request, too; None if it gets a new one.
        priority: The class of the job's message; the submission service sets it.
        stored: The image, if it is in the input bucket already; then `data` is empty.
        model: The reference of the model that is to run; None leaves it to the worker.
        tag: The caller's own word for the job; None if it gave none.
        webhook: Where the job's events are sent; None if they are not.
        is_cacheable: Whether the result of an earlier job with the same image and options will do.
        recognised: That earlier job; the submission service sets it.
    """

    data: bytes
    file_name: str
    options: Options
    is_heavy: bool = False
    wants_text: bool = False
    deadline_s: float | None = None
    idempotency_key: str | None = None
    priority: Priority = Priority.INTERACTIVE
    model: str | None = None
    stored: StoredImage | None = None
    job_id: str | None = None
    webhook: Webhook | None = None
    tag: str | None = None
    is_cacheable: bool = False
    recognised: Job | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether a repetition of the request gets the same job."""
        return self.idempotency_key is not None or self.job_id is not None


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message whose image is stored.

    Args:
        message: The message.
        priority: Its class.
        leftovers: What must be deleted if it cannot be sent, and where that is.
    """

    message: Message
    priority: Priority
    leftovers: tuple[tuple[Store, str], ...]


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
