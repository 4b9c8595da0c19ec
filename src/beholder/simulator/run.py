"""The result of a simulated run: every latency, the fleet over time, the bill, and the figures of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.simulator.traffic import Traffic

__all__ = ["Figures", "FleetAt", "History", "Run", "figures_of", "pooled"]

_HOUR_S = 3600.0

# From this time on: desired, pending and in service.
FleetAt = tuple[float, int, int, int]


class History:
    """The fleet over time, one entry per change."""

    def __init__(self) -> None:
        self._changes: list[FleetAt] = []

    def note(self, now_s: float, desired: int, pending: int, in_service: int) -> None:
        """Add an entry if the numbers changed."""
        if not self._changes or self._changes[-1][1:] != (desired, pending, in_service):
            self._changes.append((now_s, desired, pending, in_service))

    @property
    def changes(self) -> tuple[FleetAt, ...]:
        """The entries, oldest first."""
        return tuple(self._changes)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One policy against one traffic.

    Args:
        policy: Its name.
        traffic: What arrived.
        latency_s: Of each request as they arrived; inf where it was not served. Shape: `(count,) float64`.
        end_s: When the world stopped.
        history: The fleet at each change.
        bill_s: Seconds of instances to pay for.
        idle_s: Seconds for which instances could receive and had nothing.
        startups: Launches that the cloud took.
        failed_startups: Those of them that never came up.
        refused: Launches that the cloud refused.
        busy_kills: Workers ended with a job in hand.
    """

    policy: str
    traffic: Traffic
    latency_s: NDArray[np.float64]
    end_s: float
    history: tuple[FleetAt, ...]
    bill_s: float
    idle_s: float
    startups: int
    failed_startups: int
    refused: int
    busy_kills: int


def pooled(runs: Sequence[Run]) -> Run:
    """Return the runs of one policy against one traffic at several seeds as one, with the first's history."""
    first = runs[0]
    return Run(
        policy=first.policy,
        traffic=first.traffic,
        latency_s=np.concatenate([one.latency_s for one in runs]),
        end_s=max(one.end_s for one in runs),
        history=first.history,
        bill_s=sum(one.bill_s for one in runs),
        idle_s=sum(one.idle_s for one in runs),
        startups=sum(one.startups for one in runs),
        failed_startups=sum(one.failed_startups for one in runs),
        refused=sum(one.refused for one in runs),
        busy_kills=sum(one.busy_kills for one in runs),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run, as tables, JSON and CSV show them; inf stands for requests that were not served.

    Args:
        share_over: Share of requests whose latency was over goal and startup together, 0 to 1.
    """

    traffic: str
    policy: str
    requests: int
    unserved: int
    instance_hours: float
    cost: float
    p50_s: float
    p95_s: float
    p99_s: float
    share_over: float
    idle_hours: float
    startups: int
    failed_startups: int
    refused: int
    busy_kills: int

    @property
    def share_inside(self) -> float:
        """Return the share of requests inside the goal, 0 to 1."""
        return 1.0 - self.share_over

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON, which has no infinity: null stands for it."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: (None if value == math.inf else round(value, 6)) if isinstance(value, float) else value
            for name, value in found.items()
        }


def figures_of(run: Run, *, goal_s: float, price_per_hour: float) -> Figures:
    """Return a run's figures.

    Args:
        run: What happened.
        goal_s: Latency that counts as inside the goal, a startup included.
        price_per_hour: Of one instance.
    """
    latency_s = np.sort(run.latency_s)
    count = len(latency_s)
    hours = run.bill_s / _HOUR_S
    return Figures(
        traffic=run.traffic.name,
        policy=run.policy,
        requests=count,
        unserved=int(np.isinf(latency_s).sum()),
        instance_hours=hours,
        cost=hours * price_per_hour,
        p50_s=_rank(latency_s, 0.50),
        p95_s=_rank(latency_s, 0.95),
        p99_s=_rank(latency_s, 0.99),
        share_over=float((latency_s > goal_s + 1e-9).sum()) / count if count else 0.0,
        idle_hours=run.idle_s / _HOUR_S,
        startups=run.startups,
        failed_startups=run.failed_startups,
        refused=run.refused,
        busy_kills=run.busy_kills,
    )


def _rank(ordered: NDArray[np.float64], share: float) -> float:
    """Return the value of the nearest rank; 0 if there are no values."""
    if not len(ordered):
        return 0.0
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
