"""Ours against the field: for each traffic the cheapest policy that serves as many requests in time."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from beholder.simulator.run import Figures

__all__ = ["Comparison", "geometric_mean", "verdicts"]

# A share is rounded to one request of a million.
_SHARE_EPSILON = 1e-6
# A baseline counts as good with so many more requests late: one in ten thousand must not disqualify it.
_AS_GOOD_SHARE = 0.005
# As quick: its p50 and p95 are no longer by more than this.
_AS_QUICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our policy and the baselines on one traffic.

    Args:
        ours: Our policy's figures.
        best: The baseline with the fewest instance-hours among those that are as good: at most half a
            percentage point more of the requests are late; None where none is.
        better_in_both: Baselines with fewer instance-hours and a better latency: fewer requests over the
            goal, or as many and a lower p99.
        quick: The baseline with the fewest instance-hours among those as good whose p50 and p95 are no
            longer than ours either; None where none is.
    """

    ours: Figures
    best: Figures | None
    better_in_both: tuple[str, ...]
    quick: Figures | None = None

    @property
    def ratio(self) -> float | None:
        """Return our instance-hours over the best baseline's; None without one."""
        if self.best is None or self.best.instance_hours == 0:
            return None
        return self.ours.instance_hours / self.best.instance_hours


def verdicts(figures: Iterable[Figures], *, ours: str) -> list[Comparison]:
    """Return a verdict for each traffic on which `ours` and at least one other policy were played."""
    found = []
    for _, group in groupby(figures, key=lambda one: one.traffic):
        played = list(group)
        our = next((one for one in played if one.policy == ours), None)
        others = [one for one in played if one.policy != ours]
        if our is not None and others:
            found.append(_verdict(our, others))
    return found


def _verdict(ours: Figures, others: Sequence[Figures]) -> Comparison:
    as_good = [one for one in others if one.share_over <= ours.share_over + _AS_GOOD_SHARE]
    best = min(as_good, key=lambda one: one.instance_hours, default=None)
    as_quick = (
        one
        for one in as_good
        if one.p50_s <= ours.p50_s + _AS_QUICK_S and one.p95_s <= ours.p95_s + _AS_QUICK_S
    )
    quick = min(as_quick, key=lambda one: one.instance_hours, default=None)
    better = (
        one.policy for one in others if one.instance_hours < ours.instance_hours and _is_sooner(one, ours)
    )
    return Comparison(ours, best, tuple(better), quick)


def _is_sooner(one: Figures, other: Figures) -> bool:
    """Say whether `one` has the better latency: the goal counts first, then p99."""
    if abs(one.share_over - other.share_over) > _SHARE_EPSILON:
        return one.share_over < other.share_over
    return one.p99_s < other.p99_s


def geometric_mean(found: Iterable[float | None]) -> float | None:
    """Return the geometric mean of the ratios that there are; None where there is none."""
    ratios = [ratio for ratio in found if ratio is not None]
    return math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios)) if ratios else None
