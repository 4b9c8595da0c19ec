"""When unfinished jobs will have their outcomes, as callers are told, and how often that was right.

An estimate is made when a caller asks for a job, never for an image that is classified. A caller that asks
again brings the outcome that the first estimate is compared with.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from beholder.clock import Clock, age_s
from beholder.documents import Count, NotNegative
from beholder.errors import BackendError
from beholder.job import Job, JobStatus
from beholder.scaling.eta import Estimate, FleetAhead, IntervalCalibration, estimate
from beholder.web.fleet_view import FleetView
from beholder.web.submission.admission import Admission

__all__ = ["EstimateDocument", "Estimates"]

# Of so many jobs the first estimate is kept until a caller brings the outcome.
_TOLD_MAX = 2_000


@dataclass(frozen=True, slots=True)
class EstimateDocument:
    """When an unfinished job may have its outcome; the interval holds nine outcomes in ten."""

    place: Annotated[
        Count | None, "Jobs before it, those in work included; null where another process accepted it."
    ]
    eta_s: Annotated[NotNegative, "Seconds from the answer to the outcome."]
    eta_from_s: Annotated[NotNegative, "The beginning of the interval."]
    eta_until_s: Annotated[NotNegative, "The end of the interval."]
    eta_reason: Annotated[str, "What the job waits for, in words."]


@dataclass(frozen=True, slots=True)
class _Told:
    at_s: float
    estimate: Estimate


class Estimates:
    """Makes estimates, and learns from outcomes; safe to use from many threads at once.

    Args:
        view: The fleet's last record, which is read at most once in two seconds.
        admission: Knows the places in the queue, and the rate of the workers where no controller leads.
        clock: The time.
    """

    def __init__(self, view: FleetView, admission: Admission, clock: Clock) -> None:
        self._view = view
        self._admission = admission
        self._clock = clock
        self._lock = threading.Lock()
        self._calibration = IntervalCalibration()
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def of(self, job: Job) -> EstimateDocument:
        """Return when an unfinished job may have its outcome; this may read a bucket."""
        fleet, now_s = self._fleet(), self._clock.now_s()
        place, waiting = self._admission.place(job.id)
        if job.status is JobStatus.RUNNING:
            place, found = 0, _running(fleet)
        elif place is not None:
            found = estimate(place, fleet)
        else:
            found = _between(estimate(0, fleet), estimate(waiting / 2, fleet), estimate(waiting, fleet))
        with self._lock:
            told = self._calibration.widened(found)
            if job.id not in self._told:
                self._told[job.id] = _Told(now_s, told)
            if len(self._told) > _TOLD_MAX:
                self._told.popitem(last=False)
        return EstimateDocument(
            place,
            round(told.eta_s, 1),
            math.floor(told.from_s * 10) / 10,
            math.ceil(told.until_s * 10) / 10,
            told.reason,
        )

    def finished(self, job: Job) -> None:
        """Learn from a job with its outcome, if an estimate was told for it and it was not canceled."""
        if not self._told:
            return
        with self._lock:
            told = self._told.pop(job.id, None)
            is_run = job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED)
            if told is not None and is_run and job.completed_at_s is not None:
                self._calibration.learn(told.estimate, age_s(job.completed_at_s, told.at_s))

    def counts(self) -> Mapping[str, float]:
        """Return how many outcomes came inside and outside the intervals that were told."""
        return {"inside": self._calibration.inside, "outside": self._calibration.outside}

    def _fleet(self) -> FleetAhead:
        now_s = self._clock.now_s()
        try:
            last = self._view.read()
        except BackendError:
            last = None
        if last is None or last.is_stale(now_s):
            startup_s = self._admission.startup_s
            return FleetAhead(1, (), startup_s, startup_s, 1 / self._admission.jobs_per_s)
        return FleetAhead.of(last.record, now_s)


def _running(fleet: FleetAhead) -> Estimate:
    free = estimate(0, FleetAhead(1, (), fleet.startup_s, fleet.startup_s_p95, fleet.service_s))
    return Estimate("free", free.eta_s, 0.0, free.until_s, "a worker has it")


def _between(first: Estimate, usual: Estimate, last: Estimate) -> Estimate:
    """Return the estimate of a job whose place is not known."""
    return Estimate("unplaced", usual.eta_s, min(first.from_s, usual.from_s), last.until_s, last.reason)
