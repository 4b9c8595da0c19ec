"""When a job that waits will have its outcome: an estimate with an interval, and its reason in words.

What is known is what the controller's last record says: how many instances serve, how long ago the others
were launched, how long startups and messages take. The interval is widened until, as measured, so many
outcomes fall into it as it promises. A look at the clock or at a store is the caller's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from beholder.scaling.records.record import Record
from beholder.words import counted

__all__ = ["Estimate", "FleetAhead", "IntervalCalibration", "estimate"]

_LONGEST_S = 86_400.0
# An instance that is late is on its way for this part of a usual startup still.
_LATE_PART = 0.2
# No estimate is finer: batches, disks and other programs of a machine move a job by as much.
_FINEST_S = 0.5
_STARTUP_LOW = 0.65
_SERVICE_LOW, _SERVICE_HIGH = 0.7, 1.4
# Of the outcomes, these parts may come before the interval and after it.
_MISSES = 0.04
_STEP = 0.3
# Factors as logarithms: what an interval is widened by at first, and at most.
_WIDTH_AT_FIRST, _WIDTH_MAX = 0.4, 2.5


@dataclass(frozen=True, slots=True)
class FleetAhead:
    """What works on the jobs ahead.

    Args:
        in_service: Instances that receive.
        starting_s: How long ago each instance was launched that starts.
        startup_s: The usual startup time.
        startup_s_p95: The startup time that nineteen startups in twenty do not exceed.
        service_s: Seconds of an instance per message.
    """

    in_service: int
    starting_s: tuple[float, ...]
    startup_s: float
    startup_s_p95: float
    service_s: float

    @classmethod
    def of(cls, record: Record, now_s: float) -> "FleetAhead":
        """Return the fleet of a record, as it is some time later."""
        forecast, since_s = record.decision.forecast, max(0.0, now_s - record.at_s)
        return cls(
            record.states.get("in_service", 0),
            tuple(sorted((age_s + since_s for age_s in record.awaited_s.values()), reverse=True)),
            forecast.startup_s,
            max(forecast.startup_s, forecast.startup_s_p95),
            forecast.service_s,
        )

    def ready_in_s(self, startup_s: float) -> list[float]:
        """Return in how many seconds each instance that starts is ready, if startups take so long.

        One that should be ready long ago still takes a part of a startup, unless startups are short.
        """
        late_s = _LATE_PART * startup_s if startup_s >= self.startup_s else 0.0
        return sorted(max(startup_s - age_s, late_s) for age_s in self.ages)

    @property
    def ages(self) -> tuple[float, ...]:
        """The ages of those that start; where nothing serves and nothing starts, one starts now."""
        return self.starting_s if self.starting_s or self.in_service else (0.0,)


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a job may have its outcome, in seconds from now.

    Args:
        kind: What it waits for: `starting`, `queue` or `free`.
        eta_s: The estimate.
        from_s: The beginning of the interval.
        until_s: The end of the interval.
        reason: What it waits for, in words.
    """

    kind: str
    eta_s: float
    from_s: float
    until_s: float
    reason: str


class IntervalCalibration:
    """Widens intervals by what the outcomes showed, apart for each kind of estimate.

    Each outcome outside moves its end outwards by a step, and each inside moves both inwards by a small part
    of it, so that in the long run the promised part falls outside, whatever the estimates are worth.
    Source: Gibbs and Candès, Adaptive conformal inference under distribution shift, 2021.
    """

    def __init__(self) -> None:
        self._widths: dict[str, tuple[float, float]] = {}
        self.inside = 0
        self.outside = 0

    def widened(self, found: Estimate) -> Estimate:
        """Return an estimate with the interval that is told to callers."""
        below, above = self._widths.get(found.kind, (_WIDTH_AT_FIRST, _WIDTH_AT_FIRST))
        return Estimate(
            found.kind,
            found.eta_s,
            max(0.0, found.from_s * math.exp(-below) - _FINEST_S),
            min(_LONGEST_S, found.until_s * math.exp(above) + _FINEST_S),
            found.reason,
        )

    def learn(self, told: Estimate, took_s: float) -> None:
        """Learn how long a job took after it was told an estimate."""
        below, above = self._widths.get(told.kind, (_WIDTH_AT_FIRST, _WIDTH_AT_FIRST))
        is_early, is_late = took_s < told.from_s, took_s > told.until_s
        self._widths[told.kind] = (_moved(below, is_miss=is_early), _moved(above, is_miss=is_late))
        if is_early or is_late:
            self.outside += 1
        else:
            self.inside += 1


def _moved(width: float, *, is_miss: bool) -> float:
    return min(_WIDTH_MAX, max(0.0, width + _STEP * (1 - _MISSES if is_miss else -_MISSES)))


def estimate(ahead: float, fleet: FleetAhead) -> Estimate:
    """Return when a job will have its outcome, before calibration.

    Args:
        ahead: Jobs before it, those in work included.
        fleet: What works on them.
    """
    service_s = fleet.service_s
    usual = fleet.ready_in_s(fleet.startup_s)
    eta_s = _done_in_s(ahead, fleet.in_service, usual, service_s)
    from_s = _done_in_s(
        ahead, fleet.in_service, fleet.ready_in_s(fleet.startup_s * _STARTUP_LOW), service_s * _SERVICE_LOW
    )
    until_s = _done_in_s(
        ahead, fleet.in_service, fleet.ready_in_s(fleet.startup_s_p95), service_s * _SERVICE_HIGH
    )
    # Instances that are ready before the job's turn shorten its wait.
    helps = [one for one in usual if one < eta_s - service_s]
    if not fleet.in_service or helps:
        count, left_s = max(1, len(helps)), usual[min(len(helps), len(usual)) - 1] if helps else usual[0]
        word = f"{counted(count, 'instance')} starting, {math.ceil(left_s)} s left"
        if not fleet.in_service and not fleet.starting_s:
            word = f"no instance runs; one starts in about {math.ceil(left_s)} s"
        more = f"; {counted(math.floor(ahead), 'job')} ahead" if ahead >= 1 else ""
        return Estimate("starting", eta_s, from_s, until_s, word + more)
    if ahead < fleet.in_service:
        # It may be in work already.
        return Estimate("free", eta_s, 0.0, until_s, "an instance is free, or has the job")
    word = f"{counted(math.floor(ahead), 'job')} ahead, {counted(fleet.in_service, 'instance')} in service"
    return Estimate("queue", eta_s, from_s, until_s, word)


def _done_in_s(ahead: float, serving: int, ready_in_s: Sequence[float], service_s: float) -> float:
    """Return when a job is done that begins once all before it are done or in work."""
    work_s, at_s, count = max(0.0, ahead - serving + 1) * service_s, 0.0, serving
    if ahead < serving:
        work_s = 0.0
    for ready_s in (*ready_in_s, math.inf):
        if count and work_s <= (ready_s - at_s) * count:
            break
        work_s -= (ready_s - at_s) * count
        at_s, count = ready_s, count + 1
        if not serving and count == 1:
            work_s = max(0.0, work_s - service_s)  # the first one begins at once
    return min(_LONGEST_S, at_s + max(0.0, work_s) / max(1, count) + service_s)
