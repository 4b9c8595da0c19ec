"""The job as callers see it and as the output bucket keeps it: frozen, with one JSON form."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

__all__ = ["Failure", "Job", "JobInput", "JobStatus", "Label", "Metrics", "Options", "read_outcome"]


class JobStatus(StrEnum):
    """Where a job stands; the last four are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Say whether the job has its outcome."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that the image may show.

    Args:
        name: The label's text, from the model's label file.
        index: The class number within the model.
        confidence: Softmax probability, 0 to 1.
    """

    name: str
    index: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked of the classifier.

    Args:
        model: Name of the model, or None for the one that the service serves by default.
        top_k: How many labels at most, best first.
        min_confidence: Leave out labels below this probability, 0 to 1.
    """

    model: str | None = None
    top_k: int = 5
    min_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class JobInput:
    """The image of a job, where it lies and how it was sent."""

    image_key: str
    file_name: str
    image_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed: the stable code of a `JobError`, its HTTP status, and a sentence for the reader."""

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
        batch_size: How many images the model saw at once.
        receive_count: How often the message had been received, this time included.
    """

    queue_ms: float
    decode_ms: float
    infer_ms: float
    service_ms: float
    batch_size: int
    receive_count: int


@dataclass(frozen=True, slots=True)
class Job:
    """One image to classify.

    Times are seconds since the Unix epoch; in the JSON form they are RFC 3339 texts.
    """

    id: str
    status: JobStatus
    created_at_s: float
    options: Options = field(default_factory=Options)
    input: JobInput | None = None
    started_at_s: float | None = None
    completed_at_s: float | None = None
    model: str | None = None
    model_version: str | None = None
    labels: tuple[Label, ...] | None = None
    error: Failure | None = None
    metrics: Metrics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, the one of `GET /v1/jobs/{id}` and of `results/<job_id>.json`."""
        return {
            "id": self.id,
            "status": str(self.status),
            "created_at": _to_text(self.created_at_s),
            "started_at": _to_text(self.started_at_s),
            "completed_at": _to_text(self.completed_at_s),
            "model": self.model or self.options.model,
            "model_version": self.model_version,
            "input": _as_dict(self.input) | {"options": _as_dict(self.options)} if self.input else None,
            "result": None if self.labels is None else {"labels": [_as_dict(label) for label in self.labels]},
            "error": _as_dict(self.error) if self.error else None,
            "metrics": _as_dict(self.metrics) if self.metrics else None,
            "urls": {"get": f"/v1/jobs/{self.id}"},
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Read the JSON form back; raises KeyError, TypeError or ValueError where it is not one."""
        source, result = document["input"], document["result"]
        options = Options(**source["options"]) if source else Options(model=document["model"])
        return cls(
            id=document["id"],
            status=JobStatus(document["status"]),
            created_at_s=_from_text(document["created_at"]) or 0.0,
            options=options,
            input=JobInput(**{k: v for k, v in source.items() if k != "options"}) if source else None,
            started_at_s=_from_text(document["started_at"]),
            completed_at_s=_from_text(document["completed_at"]),
            model=document["model"],
            model_version=document["model_version"],
            labels=tuple(Label(**label) for label in result["labels"]) if result else None,
            error=Failure(**document["error"]) if document["error"] else None,
            metrics=Metrics(**document["metrics"]) if document["metrics"] else None,
        )


def read_outcome(document: bytes, *, job_id: str | None = None) -> Job:
    """Read a job with its outcome, as the output bucket keeps it and a reply holds it.

    Args:
        document: What was stored.
        job_id: The job that it must be of; None for any.

    Raises:
        ValueError: It is torn, of another version, or of another job, or the job has no outcome.
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


def _as_dict(value: Any) -> dict[str, Any]:
    # All fields are plain values, so the deep copy of dataclasses.asdict, ten times as slow, is not needed.
    return {name: getattr(value, name) for name in value.__slots__}


def _to_text(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    # Rounded, not cut off, so that a time read back gives the same text again.
    rounded = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(time_s * 1000))
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_text(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
