"""The figures of a run: counts, throughput and latency, computed from its answers alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beholder.loadgen.answer import Answer

__all__ = ["LoadReport", "Spread", "percentile", "report_from", "spread_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a set of values; all zero if there is none."""

    min: float = 0.0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The figures of a run.

    Args:
        answers: Every answer, in the order in which they came.
        duration_s: From the start to the last answer.
        is_interrupted: Whether the run was stopped early; requests under way then are not counted anywhere.
        answered: Requests that got a label.
        unique_files: Different files among them.
        unique_jobs: Different job ids among them; None if the API does not return them.
        duplicate_jobs: Answers whose job id an earlier answer had; None if the API does not return ids.
        statuses: Requests by HTTP status; 0 stands for no response.
        errors: Requests without a label, by error code.
        accepted: Requests first answered 202 and polled until their job was done.
        retry_count: How often a request was sent again after a 503.
        latency_s: Latency of the answered requests, in seconds; errors are often fast and would lower it.
    """

    answers: tuple[Answer, ...]
    duration_s: float
    is_interrupted: bool
    answered: int
    unique_files: int
    unique_jobs: int | None
    duplicate_jobs: int | None
    statuses: dict[int, int]
    errors: dict[str, int]
    accepted: int
    retry_count: int
    latency_s: Spread

    @property
    def requests(self) -> int:
        """How many requests were answered or failed."""
        return len(self.answers)

    @property
    def duplicates(self) -> int:
        """Answers to a file that already had one."""
        return self.answered - self.unique_files

    @property
    def throughput_per_s(self) -> float:
        """Answered requests per second over the whole run."""
        return self.answered / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def is_clean(self) -> bool:
        """Whether every request got its label and the run was not stopped."""
        return self.requests > 0 and self.answered == self.requests and not self.is_interrupted

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the single answers."""
        return {
            "requests": self.requests,
            "answered": self.answered,
            "unique_files": self.unique_files,
            "duplicates": self.duplicates,
            "unique_jobs": self.unique_jobs,
            "duplicate_jobs": self.duplicate_jobs,
            "accepted": self.accepted,
            "retry_count": self.retry_count,
            "is_interrupted": self.is_interrupted,
            "duration_s": self.duration_s,
            "throughput_per_s": self.throughput_per_s,
            "latency_s": asdict(self.latency_s),
            "statuses": {str(status): number for status, number in self.statuses.items()},
            "errors": self.errors,
        }


def report_from(answers: Sequence[Answer], *, duration_s: float, is_interrupted: bool = False) -> LoadReport:
    """Return the figures of a run that took `duration_s` seconds."""
    responses = [answer.response for answer in answers]
    answered = [answer for answer in answers if answer.is_answered]
    job_ids = [answer.response.job_id for answer in answered if answer.response.job_id is not None]
    return LoadReport(
        answers=tuple(answers),
        duration_s=duration_s,
        is_interrupted=is_interrupted,
        answered=len(answered),
        unique_files=len({answer.file for answer in answered}),
        unique_jobs=len(set(job_ids)) if job_ids else None,
        duplicate_jobs=len(job_ids) - len(set(job_ids)) if job_ids else None,
        statuses=dict(sorted(Counter(one.status for one in responses).items())),
        errors=dict(Counter(one.error for one in responses if one.error is not None).most_common()),
        accepted=sum(one.was_accepted for one in responses),
        retry_count=sum(one.retry_count for one in responses),
        latency_s=spread_of([answer.latency_s for answer in answered]),
    )


def spread_of(values: Sequence[float]) -> Spread:
    """Return the distribution of values."""
    if not values:
        return Spread()
    ordered = sorted(values)
    return Spread(
        min=ordered[0],
        mean=sum(ordered) / len(ordered),
        p50=percentile(ordered, 50),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        max=ordered[-1],
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `percent` % of all do not exceed.

    It is always a value that occurred. The rank is ceil(percent / 100 * count), in integers because in
    floating point it is sometimes one too high.

    Args:
        ordered: The values, smallest first, at least one.
        percent: 1 to 100.
    """
    return ordered[-(-percent * len(ordered) // 100) - 1]
