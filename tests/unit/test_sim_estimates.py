"""Estimates against the simulator's traffics: the interval that was told holds the outcome.

The production controller runs the fleet. Callers ask at the moment of acceptance, or later; what they
see of the fleet is the controller's last record, a second old or more.
"""

from bisect import bisect_right
from heapq import heappop, heappush
from typing import Any

import numpy as np
import pytest

from beholder.scaling.eta import Estimate, FleetAhead, IntervalCalibration, estimate
from beholder.scaling.records.record import Record
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.ours import Ours
from beholder.simulator.policy import DesiredCapacity, WorldObservation
from beholder.simulator.traffic import TRAFFICS, make_traffic
from beholder.simulator.world import simulate

COVERAGE_MIN = 0.85
ASKS_MAX = 1500
SLOW = {"diurnal", "diurnal-small", "rare", "heavy-bursts"}


class Watched(Ours):
    """Our policy, which keeps the record of each tick."""

    def __init__(self, settings: WorldSettings) -> None:
        super().__init__(settings.limits, queue_lag_s=settings.queue_lag_s)
        self.at_s: list[float] = []
        self.records: list[Record] = []

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        desired = super().tick(observed)
        assert self.last is not None
        self.at_s.append(observed.now_s)
        self.records.append(self.last)
        return desired


def told_of(name: str, settings: WorldSettings) -> list[tuple[Estimate, float]]:
    """Return each estimate that was told, with the seconds that the job then took."""
    policy, traffic = Watched(settings), make_traffic(name, settings.seed)
    latency_s = simulate(policy, traffic, settings).latency_s
    done_s = traffic.arrivals_s + latency_s
    rng = np.random.default_rng(settings.seed)
    asked = np.sort(rng.choice(len(done_s), min(len(done_s), ASKS_MAX), replace=False))
    share = np.where(rng.random(len(asked)) < 0.5, 0.0, rng.random(len(asked)))
    looks = sorted(zip(traffic.arrivals_s[asked] + share * latency_s[asked], asked.tolist(), strict=True))
    calibration, told = IntervalCalibration(), []
    unfinished: list[tuple[float, int, Estimate, float]] = []
    for at_s, number in looks:
        while unfinished and unfinished[0][0] <= at_s:
            calibration.learn(*heappop(unfinished)[2:])
        record = policy.records[max(bisect_right(policy.at_s, at_s - 1.0) - 1, 0)]
        ahead = int((done_s[:number] > at_s).sum())
        found = calibration.widened(estimate(ahead, FleetAhead.of(record, at_s)))
        took_s = float(done_s[number] - at_s)
        heappush(unfinished, (float(done_s[number]), number, found, took_s))
        told.append((found, took_s))
    return told


@pytest.mark.parametrize("spread", [0.0, 0.7])
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in TRAFFICS]
)
def test_the_interval_holds_what_it_promises(name: str, spread: float) -> None:
    told = told_of(name, WorldSettings(service_spread=spread, seed=3))
    inside = [one.from_s <= took_s <= one.until_s for one, took_s in told]
    assert len(inside) >= 30
    assert sum(inside) / len(inside) >= COVERAGE_MIN
    # It is no interval that holds everything.
    waits = [one for one, _ in told if one.kind != "free"]
    assert all(one.from_s <= one.eta_s <= one.until_s for one, _ in told)
    assert np.median([(one.until_s + 1) / (one.from_s + 1) for one in waits]) < 60


def fleet(**more: Any) -> FleetAhead:
    usual = {"in_service": 2, "starting_s": (), "startup_s": 100.0, "startup_s_p95": 130.0, "service_s": 0.5}
    return FleetAhead(**(usual | more))


@pytest.mark.parametrize(
    ("ahead", "given", "kind", "eta_s", "reason"),
    [
        (0, {}, "free", 0.5, "an instance is free, or has the job"),
        (41, {}, "queue", 10.5, "41 jobs ahead, 2 instances in service"),
        (0, {"in_service": 0}, "starting", 100.5, "no instance runs; one starts in about 100 s"),
        (
            0,
            {"in_service": 0, "starting_s": (5.0, 5.0)},
            "starting",
            95.5,
            "1 instance starting, 95 s left",
        ),
        (
            1000,
            {"starting_s": (80.0, 60.0)},
            "starting",
            140.25,
            "2 instances starting, 40 s left; 1000 jobs ahead",
        ),
        (
            0,
            {"in_service": 0, "starting_s": (500.0,)},
            "starting",
            20.5,
            "1 instance starting, 20 s left",
        ),
    ],
)
def test_what_is_told(ahead: int, given: dict[str, Any], kind: str, eta_s: float, reason: str) -> None:
    found = estimate(ahead, fleet(**given))
    assert (found.kind, found.reason) == (kind, reason)
    assert found.eta_s == pytest.approx(eta_s, abs=1.0)
    assert found.from_s <= found.eta_s <= found.until_s


def test_an_interval_widens_on_misses_and_narrows_on_hits() -> None:
    calibration, raw = IntervalCalibration(), estimate(100, fleet())
    first = calibration.widened(raw)
    calibration.learn(first, first.until_s + 1.0)
    wider = calibration.widened(raw)
    assert (wider.until_s > first.until_s, wider.from_s >= first.from_s) == (True, True)
    for _ in range(100):
        calibration.learn(first, first.eta_s)
    narrow = calibration.widened(raw)
    assert narrow.until_s - raw.until_s == pytest.approx(raw.from_s - narrow.from_s, abs=1e-6)
    assert (calibration.inside, calibration.outside) == (100, 1)
    for _ in range(100):
        calibration.learn(first, 1e6)
    assert calibration.widened(raw).until_s < 20 * raw.until_s
