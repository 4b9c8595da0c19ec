"""What came back: the service's response, and the answer, which adds the file and the latency."""

import json
from dataclasses import dataclass
from typing import Any

from beholder.job import JobStatus

__all__ = ["Answer", "Response", "latency_s", "response_from"]

_STATUS_ACCEPTED = 202
_STATUS_OVERLOADED = 503


@dataclass(frozen=True, slots=True)
class Response:
    """What the service responded to one request.

    Args:
        status: HTTP status of the last response; 0 when there was none.
        label: Name of the best label.
        confidence: Its probability, 0 to 1; v1 only.
        indices: Class numbers of the labels, best first; v1 only.
        job_id: The job's id; v1 only.
        error: Why there is no label: the service's own code, or one of connection_refused, connection_failed,
            connection_lost, timeout, answer_invalid, answer_empty, image_unreadable, http_<status>.
        is_pending: The job is accepted and not yet done.
        was_accepted: The service answered 202 first and was asked again until the job was done.
        retry_count: How often the request was sent again after a 503.
    """

    status: int
    label: str | None = None
    confidence: float | None = None
    indices: tuple[int, ...] = ()
    job_id: str | None = None
    error: str | None = None
    is_pending: bool = False
    was_accepted: bool = False
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The one outcome of one request; times are seconds from the start of the run.

    Args:
        file: Name of the image file.
        intended_at_s: When the request was due; in a closed loop, when it was sent.
        sent_at_s: When it was sent.
        latency_s: From the time it was due to its outcome.
        response: What the service responded.
    """

    file: str
    intended_at_s: float
    sent_at_s: float
    latency_s: float
    response: Response

    @property
    def done_at_s(self) -> float:
        """When its outcome was known, in seconds from the start of the run."""
        return min(self.intended_at_s, self.sent_at_s) + self.latency_s

    @property
    def status(self) -> int:
        """HTTP status of the last response; 0 when there was none."""
        return self.response.status

    @property
    def label(self) -> str | None:
        """The best label, or None when there is none."""
        return self.response.label

    @property
    def confidence(self) -> float | None:
        """The best label's probability, 0 to 1, or None."""
        return self.response.confidence

    @property
    def error(self) -> str | None:
        """The code of what went wrong, or None for an answer with a label."""
        return self.response.error

    @property
    def is_answered(self) -> bool:
        """Say whether the request got its label."""
        return self.response.error is None


def latency_s(*, intended_at_s: float, sent_at_s: float, done_at_s: float) -> float:
    """Return the latency from the intended time, so that a service that stalls its clients cannot hide it.

    A timer may fire up to a millisecond early; such a request counts from its sending.
    """
    return done_at_s - min(intended_at_s, sent_at_s)


def response_from(status: int, content_type: str, body: bytes) -> Response:
    """Read a response: a label as text, a job object, or an error."""
    is_json = content_type.partition(";")[0].strip().endswith("json")
    if not 200 <= status < 300:  # noqa: PLR2004 - the range of HTTP's successes
        return Response(status, error=_error_code(status, body if is_json else b""))
    if is_json:
        return _response_from_job(status, body)
    if status == _STATUS_ACCEPTED:
        return Response(status, is_pending=True)
    label = body.decode("utf-8", "replace").strip()
    return Response(status, label=label) if label else Response(status, error="answer_empty")


def _error_code(status: int, body: bytes) -> str:
    try:
        code: Any = json.loads(body)["code"] if body else None
    except (ValueError, KeyError, TypeError):
        code = None
    if isinstance(code, str) and code:
        return code
    return "overloaded" if status == _STATUS_OVERLOADED else f"http_{status}"


def _response_from_job(status: int, body: bytes) -> Response:
    try:
        job = json.loads(body)
        job_id, state = str(job["id"]), JobStatus(job["status"])
        if not state.is_terminal:
            return Response(status, job_id=job_id, is_pending=True)
        if state is not JobStatus.SUCCEEDED:
            return Response(
                status, job_id=job_id, error=(job.get("error") or {}).get("code") or f"job_{state}"
            )
        labels = job["result"]["labels"]
        if not labels:
            return Response(status, job_id=job_id, error="answer_empty")
        return Response(
            status,
            label=str(labels[0]["name"]),
            confidence=float(labels[0]["confidence"]),
            indices=tuple(int(label["index"]) for label in labels),
            job_id=job_id,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Response(status, error="answer_invalid")
