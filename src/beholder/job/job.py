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

__all__ = [
    "Embedding",
    "Failure",
    "Job",
    "JobInput",
    "JobStatus",
    "Label",
    "Metrics",
    "Options",
    "Result",
    "read_outcome",
]


class JobStatus(StrEnum):
    """The status of a job; the last four are terminal and never change.

    A job whose worker hands it back, or dies, is queued again.
    """

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
    """One thing that the image may show."""

    name: Annotated[str, "The label's text, from the model's label file."]
    index: Annotated[Count, "Class number within the model."]
    confidence: Annotated[
        Probability, "Probability: a softmax over the classes, or, of a multi-label model, one of its own."
    ]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked of the classifier."""

    model: Annotated[str | None, "The model that the request names; null for the service's default."] = None
    top_k: Annotated[int, Form(minimum=1), "Labels at most, best first."] = 5
    min_confidence: Annotated[
        Probability,
        "Labels below this probability are left out; 0 takes a multi-label model's own thresholds.",
    ] = 0.0
    include: Annotated[tuple[int, ...], "Numbers of the classes that alone are ranked; empty for all."] = ()
    exclude: Annotated[tuple[int, ...], "Numbers of the classes that are left out."] = ()
    embed: Annotated[bool, "Whether the embedding is asked for instead of labels."] = False


@dataclass(frozen=True, slots=True)
class JobInput:
    """The image of a job: where it is stored and how it was sent."""

    image_key: Annotated[str, "Key of the image in the input bucket."]
    file_name: Annotated[str, "Name of the file as sent, cut to file_name_chars_max."]
    image_bytes: Annotated[Count, "Length of the file."]
    options: Annotated[Options, "What the caller asked of the classifier."] = field(default_factory=Options)
    tag: Annotated[str | None, "The caller's own word for the job; null if it gave none."] = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """What the model's last layers read of the image: images alike have embeddings alike."""

    size: Annotated[Count, "How many values it has."]
    is_normalised: Annotated[bool, "Whether its length is 1, so that the dot product of two is their cosine."]
    values: Annotated[tuple[float, ...], "The values, each a float32."]


@dataclass(frozen=True, slots=True)
class Result:
    """What the model recognised."""

    labels: Annotated[tuple[Label, ...], "Best first."]
    embedding: Annotated[
        Embedding | None, "The embedding, if it was asked for; then there are no labels."
    ] = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    code: Annotated[str, "One of the error codes, which are stable; for programs."]
    status: Annotated[int, "HTTP status of the answer to a waiting caller."]
    detail: Annotated[str, "What is wrong and what to do, for people."]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where the time went, in milliseconds.

    `queue_ms` has `starting_ms` in it; `service_ms` is `fetch_ms`, `batch_ms`, `decode_ms` and `infer_ms`.
    """

    queue_ms: Annotated[NotNegative, "From the job's creation to the worker's receipt of its message."]
    decode_ms: Annotated[NotNegative, "Decoding and resizing of this image."]
    infer_ms: Annotated[NotNegative, "The model's run over the batch that held this image."]
    service_ms: Annotated[NotNegative, "From receipt to the result in hand."]
    batch_size: Annotated[Count, "Images that the model saw at once."]
    receive_count: Annotated[Count, "How often the message had been received, this time included."]
    starting_ms: Annotated[
        NotNegative | None, "The part of `queue_ms` before the worker that ran the job was ready; it started."
    ] = None
    fetch_ms: Annotated[
        NotNegative | None, "Reading this image from the bucket; none if it came with its message."
    ] = None
    batch_ms: Annotated[NotNegative | None, "Waiting for the other images of the batch."] = None


@dataclass(frozen=True, slots=True)
class Job:
    """One image to classify, and its outcome."""

    id: Annotated[str, Form(format="uuid"), "UUIDv7, so that ids sort by time of creation."]
    status: Annotated[JobStatus, "The last four are terminal and never change."]
    created_at_s: Annotated[Time, "When the image was accepted."]
    started_at_s: Annotated[Time | None, "When a worker received the job."] = None
    completed_at_s: Annotated[Time | None, "When the outcome was known."] = None
    model: Annotated[str | None, "The model that ran; before that, the model that will run."] = None
    model_version: Annotated[str | None, "Version of that model."] = None
    input: Annotated[JobInput | None, "The image and how it was sent."] = None
    result: Annotated[Result | None, "What the model recognised, once the job succeeded."] = None
    error: Annotated[Failure | None, "Why the job failed or expired."] = None
    metrics: Annotated[Metrics | None, "Where the time went."] = None

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels of the result, best first; none if the job has no result."""
        return self.result.labels if self.result else ()

    @property
    def best_label(self) -> Label | None:
        """The likeliest label; None if the job has no result, or min_confidence left no label."""
        return self.labels[0] if self.labels else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as in `GET /v1/jobs/{id}` and in `results/<job_id>.json`."""
        document = to_document(self)
        document["urls"] = {"get": f"/v1/jobs/{self.id}"}
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Read the JSON form; members that a later version adds are ignored.

        Raises:
            KeyError: A member is missing.
            TypeError: A member has the wrong type.
            ValueError: A member has a value that its type does not allow.
        """
        return from_document(cls, {name: document[name] for name in _MEMBERS})


_MEMBERS = tuple(member.name for member in members_of(Job))


def read_outcome(document: bytes, *, job_id: str | None = None) -> Job:
    """Read a job with its outcome from the output bucket or from a reply.

    Args:
        document: The stored bytes.
        job_id: The id that the job must have; None for any.

    Raises:
        ValueError: The document is torn, or of another version or job, or the job has no outcome.
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
