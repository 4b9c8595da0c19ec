"""What a client does, without doing it: which request it sends next, after which pause, and what comes of it.

Each call is a generator: it yields the next request, is sent the answer, and returns the job. `Client` and
`AsyncClient` send the requests.
"""

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TypedDict, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from beholder.client.answers import HttpAnswer, error_of, failure_error, job_of, models_of, retry_after_s
from beholder.client.errors import ServiceUnreachable
from beholder.client.images import ImageBody
from beholder.clock import Clock
from beholder.errors import ConfigError, IdempotencyKeyInUse, JobError, OutcomeLate
from beholder.job import Job

__all__ = [
    "HttpRequest",
    "Parameters",
    "Patience",
    "Steps",
    "address_of",
    "cancel",
    "classify",
    "delete",
    "get",
    "models",
    "retry",
    "wait",
]

_Done = TypeVar("_Done")

Steps = Generator["HttpRequest", HttpAnswer | ServiceUnreachable, _Done]

# The service lets a request wait for so long at most, by default.
_WAIT_S_MAX = 60.0
# Beyond the time that the service may take: for the upload, and for a queue of connections.
_ANSWER_S = 60.0
# After a call's time an answer that is on its way still counts.
_LATE_S = 5.0
_POLL_S = 1.0
# A Retry-After of 0 would otherwise turn a client into a busy loop.
_PAUSE_S_MIN = 0.05
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.5, 8.0
_JITTER_SHARE = 0.1
# After the service was reached once: it is being restarted, or replaced.
_UNREACHABLE_S_MAX = 120.0
_PASSING = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class Parameters(TypedDict, total=False):
    """What is asked of the classifier; what is left out is the service's default.

    Args:
        model: Name of the model.
        top_k: Labels at most, best first.
        min_confidence: Labels below this probability are left out.
        include: The labels that alone are ranked, by name, class number or WordNet id.
        exclude: The labels that are left out, named likewise.
    """

    model: str
    top_k: int
    min_confidence: float
    include: Sequence[str | int]
    exclude: Sequence[str | int]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to send.

    Args:
        method: Such as GET.
        target: Path and query.
        body: What it sends.
        headers: Beside those that every request of the client has.
        answer_s_max: How long its answer may take.
        after_s: How long to pause before it is sent.
    """

    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    answer_s_max: float = _ANSWER_S
    after_s: float = 0.0


class Patience:
    """How long one call may take, with all its requests and pauses.

    Args:
        timeout_s: How long.
        clock: The time.
        jitter: Returns a random number from 0 to 1.
        was_reached: Whether the service has answered before. A service that never answered is given up at
            once, because its address is more likely wrong.
    """

    def __init__(
        self, timeout_s: float, clock: Clock, jitter: Callable[[], float], *, was_reached: bool
    ) -> None:
        self.timeout_s = timeout_s
        self._now_s = clock.now_s
        self._jitter = jitter
        self._until_s = clock.now_s() + timeout_s
        self._reached_s = clock.now_s() if was_reached else None

    def note_answer(self) -> None:
        """Note that the service answers."""
        self._reached_s = self._now_s()

    def has(self, pause_s: float) -> bool:
        """Return whether a pause ends in time."""
        return self._now_s() + pause_s <= self._until_s

    def left_s(self) -> float:
        """Return the seconds that are left."""
        return max(self._until_s - self._now_s(), 0.0)

    def is_lost(self) -> bool:
        """Return whether a service that cannot be reached is given up."""
        return self._reached_s is None or self._now_s() - self._reached_s > _UNREACHABLE_S_MAX

    def backoff_s(self, attempt: int) -> float:
        """Return the pause before another attempt at a service that says nothing of when to come."""
        longest_s = min(_BACKOFF_S_MIN * 2.0**attempt, _BACKOFF_S_MAX)
        return longest_s * (0.5 + 0.5 * self._jitter())

    def pause_s(self, asked_s: float) -> float:
        """Return the pause that the service asks for, and a little more, so that not all come at once."""
        return max(asked_s * (1.0 + _JITTER_SHARE * self._jitter()), _PAUSE_S_MIN)


def address_of(url: str) -> str:
    """Return a service's address without its last slash.

    Raises:
        ConfigError: It is no address of a service.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"url is {url!r}; give a service's address, such as http://127.0.0.1:8080")
    return f"{parts.scheme}://{parts.netloc}"


def classify(
    image: ImageBody, parameters: Parameters, key: str, patience: Patience, *, is_awaited: bool
) -> Steps[Job]:
    """Submit an image and return its job: finished, or as it was accepted.

    Args:
        image: The image.
        parameters: What is asked of the classifier.
        key: The idempotency key, with which no repetition makes a second job.
        patience: How long all may take.
        is_awaited: Whether to wait for the outcome.

    Raises:
        BeholderError: The error that the service answers, or that the job ended with.
        ConfigError: The address is not that of a service of beholder.
        OutcomeLate: The outcome does not come in time; the job goes on.
        ServiceUnreachable: The service does not answer.
    """
    wait_s = int(min(patience.left_s(), _WAIT_S_MAX)) if is_awaited else 0
    headers = {"Content-Type": image.content_type, "Idempotency-Key": key, "Prefer": f"wait={wait_s}"}
    asked: dict[str, object] = dict(parameters)
    for name in asked.keys() & {"include", "exclude"}:
        asked[name] = json.dumps(asked[name], ensure_ascii=False)
    if image.file_name:
        asked["file_name"] = image.file_name
    query = urlencode(asked)
    target = f"/v1/classify?{query}" if query else "/v1/classify"
    answer = yield from _answered(
        HttpRequest("POST", target, image.content, headers, wait_s + _ANSWER_S), patience
    )
    job = job_of(answer)
    return (yield from _finished(job, answer, patience)) if is_awaited else job


def get(job_id: str, patience: Patience) -> Steps[Job]:
    """Return a job as it is.

    Raises:
        BeholderError: The error that the service answers.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    return job_of((yield from _answered(HttpRequest("GET", _job_target(job_id)), patience)))


def cancel(job_id: str, patience: Patience) -> Steps[Job]:
    """Cancel a job and return it.

    Raises:
        BeholderError: The error that the service answers.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    return job_of((yield from _answered(HttpRequest("POST", f"{_job_target(job_id)}/cancel"), patience)))


def retry(job_id: str, patience: Patience) -> Steps[Job]:
    """Run the image of a failed job again; return the new job.

    Raises:
        BeholderError: The error that the service answers.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    request = HttpRequest("POST", f"{_job_target(job_id)}/retry", headers={"Prefer": "respond-async"})
    return job_of((yield from _answered(request, patience)))


def delete(job_id: str, patience: Patience) -> Steps[None]:
    """Delete a job, its image and its result.

    Raises:
        BeholderError: The error that the service answers.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    yield from _answered(HttpRequest("DELETE", _job_target(job_id)), patience)


def models(patience: Patience) -> Steps[tuple[str, ...]]:
    """Return what requests may name as the model.

    Raises:
        BeholderError: The error that the service answers.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    return models_of((yield from _answered(HttpRequest("GET", "/v1/models"), patience)))


def wait(job_id: str, patience: Patience) -> Steps[Job]:
    """Return a job once it is finished.

    Raises:
        BeholderError: The error that the service answers, or that the job ended with.
        ConfigError: The address is not that of a service of beholder.
        OutcomeLate: The outcome does not come in time; the job goes on.
        ServiceUnreachable: The service does not answer.
    """
    answer = yield from _answered(HttpRequest("GET", _job_target(job_id)), patience)
    return (yield from _finished(job_of(answer), answer, patience))


def _finished(
    job: Job, answer: HttpAnswer, patience: Patience
) -> Generator[HttpRequest, HttpAnswer | ServiceUnreachable, Job]:
    """Ask for a job until it is finished, when the service says."""
    while not job.status.is_terminal:
        asked_s = retry_after_s(answer)
        pause_s = patience.pause_s(_POLL_S if asked_s is None else asked_s)
        if not patience.has(pause_s):
            raise OutcomeLate(
                f"job {job.id} has no outcome after {patience.timeout_s:g} s; it goes on, so wait again"
            )
        request = HttpRequest("GET", _job_target(job.id), after_s=pause_s)
        answer = yield from _answered(request, patience)
        job = job_of(answer)
    if job.error is not None:
        raise failure_error(job.error)
    return job


def _job_target(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _answered(
    request: HttpRequest, patience: Patience
) -> Generator[HttpRequest, HttpAnswer | ServiceUnreachable, HttpAnswer]:
    """Send a request until it has an answer that is no passing error."""
    attempt = 0
    while True:
        limit_s = max(patience.left_s() - request.after_s, 0.0) + _LATE_S
        answer = yield replace(request, answer_s_max=min(request.answer_s_max, limit_s))
        if isinstance(answer, HttpAnswer):
            patience.note_answer()
            error = error_of(answer)
            if error is None:
                return answer
            asked_s = retry_after_s(answer)
            is_passing = not isinstance(error, JobError) and (
                answer.status in _PASSING or error.code == IdempotencyKeyInUse.code
            )
        else:
            error, asked_s, is_passing = answer, None, not patience.is_lost()
        pause_s = patience.backoff_s(attempt) if asked_s is None else patience.pause_s(asked_s)
        if not is_passing or not patience.has(pause_s):
            raise error
        request, attempt = replace(request, after_s=pause_s), attempt + 1
