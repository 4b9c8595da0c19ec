"""The job, in the JSON form that callers get and the output bucket keeps."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Self

from beholder.documents import (
    Count,
    Form,
    NotNegative,
    Probability,
    Time,
    from_document,
    members_of,
    to_document,
)

__all__ = ["Failure", "Job", "JobInput", "JobStatus", "Label", "Metrics", "Options", "Result", "read_outcome"]


class JobStatus(StrEnum):
    """The status of a job; the last four are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has its outcome."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that the image may show.

    Args:
        name: The label's text, from the model's label file.
        index: Class number within the model.
        confidence: Softmax probability.
    """

    name: str
    index: Count
    confidence: Probability


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked of the classifier.

    Args:
        model: Name of the model; null for the one that the service serves by default.
        top_k: Labels at most, best first.
        min_confidence: Labels below this probability are left out.
    """

    model: str | None = None
    top_k: Annotated[int, Form(minimum=1)] = 5
    min_confidence: Probability = 0.0


@dataclass(frozen=True, slots=True)
class JobInput:
    """The image of a job, where it lies and how it was sent.

    Args:
        image_key: Key of the image in the input bucket.
        file_name: Name of the file as sent, cut to file_name_chars_max.
        image_bytes: Length of the file.
        options: What the caller asked of the classifier.
    """

    image_key: str
    file_name: str
    image_bytes: Count
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Result:
    """What the model recognised.

    Args:
        labels: Best first.
    """

    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed.

    Args:
        code: One of the error codes, which are stable; for programs.
        status: HTTP status that a waiting caller is answered with.
        detail: What is wrong and what to do, for people.
    """

    code: str
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where the time went, in milliseconds.

    Args:
        queue_ms: From the job's creation to the worker's receipt of its message.
        decode_ms: Decoding and resizing of this image.
        infer_ms: The model's run over the batch that held this image.
        service_ms: From receipt to the result in hand.
        batch_size: Images that the model saw at once.
        receive_count: How often the message had been received, this time included.
    """

    queue_ms: NotNegative
    decode_ms: NotNegative
    infer_ms: NotNegative
    service_ms: NotNegative
    batch_size: Count
    receive_count: Count


@dataclass(frozen=True, slots=True)
class Job:
    """One image to classify, and its outcome.

    Args:
        id: UUIDv7, so that ids sort by time of creation.
        status: The last four are terminal and never change.
        created_at_s: When the image was accepted.
        started_at_s: When a worker received the job.
        completed_at_s: When the outcome was known.
        model: The model that ran, or the one asked for while none has.
        model_version: Version of the model that ran.
        input: The image and how it was sent.
        result: What the model recognised, once the job succeeded.
        error: Why the job failed or expired.
        metrics: Where the time went.
    """

    id: Annotated[str, Form(format="uuid")]
    status: JobStatus
    created_at_s: Time
    started_at_s: Time | None = None
    completed_at_s: Time | None = None
    model: str | None = None
    model_version: str | None = None
    input: JobInput | None = None
    result: Result | None = None
    error: Failure | None = None
    metrics: Metrics | None = None

    @property
    def best_label(self) -> Label | None:
        """The likeliest label; None where the model ran to no result, or min_confidence left none."""
        return self.result.labels[0] if self.result and self.result.labels else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, the one of `GET /v1/jobs/{id}` and of `results/<job_id>.json`."""
        document = to_document(self)
        document["urls"] = {"get": f"/v1/jobs/{self.id}"}
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Read the JSON form back; what a later version adds to it is ignored.

        Raises:
            KeyError: A member is missing.
            TypeError: A member is of another kind.
            ValueError: A member has a value that its type does not have.
        """
        return from_document(cls, {name: document[name] for name in _MEMBERS})


_MEMBERS = tuple(one.name for one in members_of(Job))


def read_outcome(document: bytes, *, job_id: str | None = None) -> Job:
    """Read a job with its outcome from the output bucket or from a reply.

    Args:
        document: The stored bytes.
        job_id: Id that the job must have; None for any.

    Raises:
        ValueError: The document is torn, of another version, or of another job, or the job has no outcome.
    """
    try:
        job = Job.from_dict(json.loads(document))
    except (KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"not a job: {type(exc).__name__}: {exc}") from exc
    if not isinstance(job.id, str):
        raise ValueError(f"not a job: its id is {job.id!r:.80}")  # noqa: TRY004 -- a problem of the document
    if job_id is not None and job.id != job_id:
        raise ValueError(f"the outcome of {job_id} is that of {job.id:.80}")
    if not job.status.is_terminal:
        raise ValueError(f"job {job.id} has no outcome yet")
    return job
