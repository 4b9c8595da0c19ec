"""What came back: the service's response, and the answer, which adds the file and the times."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from beholder.job import JobStatus

__all__ = ["Answer", "Response", "response_from"]


@dataclass(frozen=True, slots=True)
class Response:
    """What the service responded to one request.

    Args:
        status: HTTP status of the last response; 0 if there was none.
        label: Name of the best label.
        confidence: Its probability, 0 to 1; v1 only.
        indices: Class numbers of the labels, best first; v1 only.
        job_id: The job's id; v1 only.
        error: Why there is no label: the service's own code, or one of connection_refused, connection_failed,
            connection_lost, timeout, answer_invalid, answer_empty, image_unreadable, http_<status>.
        is_pending: Whether the job is accepted and not yet done.
        was_accepted: Whether the service answered 202 first and was polled until the job was done.
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
    """The final response to one request; times are seconds from the start of the run.

    Args:
        file: Name of the image file.
        due_at_s: When the request was due; in a closed loop, when it was sent.
        sent_at_s: When it was sent.
        done_at_s: When the final response arrived, or the request failed.
        response: What the service responded.
    """

    file: str
    due_at_s: float
    sent_at_s: float
    done_at_s: float
    response: Response

    @property
    def latency_s(self) -> float:
        """The latency from the due time, so that a service that stalls its clients cannot hide it.

        A timer may fire up to a millisecond early; such a request counts from its sending.
        """
        return self.done_at_s - min(self.due_at_s, self.sent_at_s)

    @property
    def is_answered(self) -> bool:
        """Whether the request got its label."""
        return self.response.error is None


def response_from(status: int, content_type: str, body: bytes) -> Response:
    """Read a response: a label as text, a job object, or an error."""
    is_json = content_type.partition(";")[0].strip().endswith("json")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Response(status, error=_error_code(status, body if is_json else b""))
    if is_json:
        return _response_from_job(status, body)
    if status == HTTPStatus.ACCEPTED:
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
    return "overloaded" if status == HTTPStatus.SERVICE_UNAVAILABLE else f"http_{status}"


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
