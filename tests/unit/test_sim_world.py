"""The world on its own: what can be counted by hand, and what must hold of every run."""

import math

import numpy as np
import pytest

from beholder.simulator.baselines import BASELINES, make_baseline
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.policy import (
    DesiredCapacity,
    IdleFor,
    KillRule,
    ScalerTraits,
    WorldLimits,
    WorldObservation,
)
from beholder.simulator.run import Run, figures_of
from beholder.simulator.traffic import TRAFFICS, Traffic, make_traffic
from beholder.simulator.world import simulate

pytestmark = pytest.mark.pure

PLAIN = WorldSettings(startup_spread=0.0, queue_lag_s=0.0, limits=WorldLimits(startup_s=100.0, service_s=2.0))


class Script:
    """Wants what it is told, from given times on; ticks each second."""

    name = "script"

    def __init__(self, wants: dict[float, int], traits: ScalerTraits = ScalerTraits(KillRule.BLIND)) -> None:  # noqa: B008
        self.wants = wants
        self.traits = traits
        self.observations: list[WorldObservation] = []

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        self.observations.append(observed)
        return DesiredCapacity(self.wants.get(observed.now_s), 1.0)


def traffic(*arrivals_s: float, duration_s: float | None = None) -> Traffic:
    end_s = duration_s if duration_s is not None else max(arrivals_s, default=0.0)
    return Traffic("by hand", "", np.asarray(arrivals_s, dtype=np.float64), end_s)


def latencies(run: Run) -> list[float]:
    return [round(float(one), 6) for one in run.latency_s]


# --- by hand ------------------------------------------------------------------------------------------------


def test_three_requests_on_one_instance_take_what_one_counts_by_hand() -> None:
    # given three requests, and an instance launched at 10 that is up at 110
    policy = Script({10.0: 1, 200.0: 0})

    run = simulate(policy, traffic(10.0, 11.0, 150.0), PLAIN)

    # then the first waits for the startup, the second for the first, the third for nobody
    assert latencies(run) == [102.0, 103.0, 2.0]
    # and the instance is paid from 10 to 200, of which it worked three times two seconds
    assert run.bill_s == 190.0
    assert run.idle_s == pytest.approx(90.0 - 6.0)
    assert run.startups == 1


def test_two_instances_share_what_waits() -> None:
    run = simulate(Script({0.0: 2, 120.0: 0}), traffic(0.0, 0.0, 0.0), PLAIN)
    assert latencies(run) == [102.0, 102.0, 104.0]


def test_each_launch_is_billed_for_a_minute_at_least_and_by_the_begun_second() -> None:
    settings = WorldSettings(
        startup_spread=0.0, queue_lag_s=0.0, limits=WorldLimits(startup_s=0.5, service_s=2.0)
    )
    # when one lives for 5 s, and then another for 70 s
    run = simulate(Script({0.0: 1, 5.0: 0, 10.0: 1, 80.0: 0}), traffic(1.0, 20.0, duration_s=80.0), settings)
    assert run.bill_s == 60.0 + 70.0


def test_warm_instances_are_there_from_the_start_and_paid_to_the_end() -> None:
    settings = WorldSettings(
        queue_lag_s=0.0, limits=WorldLimits(capacity_min=2, startup_s=100.0, service_s=2.0)
    )
    run = simulate(Script({}), traffic(1.0, 1.0, duration_s=1000.0), settings)
    assert latencies(run) == [2.0, 2.0]
    assert run.bill_s == 2000.0


# --- ends ---------------------------------------------------------------------------------------------------


def test_a_killed_worker_s_message_comes_back_after_its_visibility_timeout() -> None:
    # given a job that began at 100 and would last to 102
    policy = Script({0.0: 1, 101.0: 0, 110.0: 1, 400.0: 0})

    run = simulate(policy, traffic(0.0), PLAIN)

    # then another worker, up at 210, does it: it was visible again at 130
    assert run.busy_kills == 1
    assert latencies(run) == [212.0]


def test_a_message_that_comes_back_late_is_taken_when_it_is_visible() -> None:
    policy = Script({0.0: 2, 101.0: 1, 400.0: 0})
    run = simulate(policy, traffic(0.0, 0.0), PLAIN)
    # one of both was killed at 101; the other worker is idle from 102, the message visible from 130
    assert sorted(latencies(run)) == [102.0, 132.0]


def test_a_graceful_stop_lets_a_job_end() -> None:
    run = simulate(Script({0.0: 1, 101.0: 0}, ScalerTraits(KillRule.GRACEFUL)), traffic(0.0), PLAIN)
    assert run.busy_kills == 0
    assert latencies(run) == [102.0]
    assert run.bill_s == 102.0


def test_a_graceful_stop_has_an_end() -> None:
    traits = ScalerTraits(KillRule.GRACEFUL, grace_s=0.5)
    run = simulate(Script({0.0: 1, 101.0: 0, 102.0: 1, 400.0: 0}, traits), traffic(0.0), PLAIN)
    assert run.busy_kills == 1
    assert latencies(run) == [204.0]


def test_the_idle_rule_s_victims_are_never_busy() -> None:
    run = simulate(Script({0.0: 2, 101.0: 0, 110.0: 0}, ScalerTraits(KillRule.IDLE)), traffic(0.0), PLAIN)
    assert run.busy_kills == 0
    assert latencies(run) == [102.0]


def test_a_worker_leaves_by_itself_when_it_was_idle_for_long_enough() -> None:
    traits = ScalerTraits(KillRule.SELF, worker_rule=IdleFor(50.0), leave_s=5.0)
    # when jobs end at 102 and 142, then nothing comes
    run = simulate(Script({0.0: 1, 120.0: 0}, traits), traffic(0.0, 140.0), PLAIN)
    # then it goes 50 s after the second one and is paid for 5 s more; nobody else could end it
    assert run.bill_s == 142.0 + 50.0 + 5.0


def test_a_worker_that_naps_between_polls_takes_a_message_when_it_wakes() -> None:
    traits = ScalerTraits(KillRule.BLIND, poll_s=10.0, nap_s=10.0)
    # given an instance up at 100: it polls until 110, naps until 120, polls until 130
    run = simulate(Script({0.0: 1, 300.0: 0}, traits), traffic(109.0, 125.0), PLAIN)
    # then the first is taken at once; idle again from 111, it naps from 121 to 131
    assert latencies(run) == [2.0, 8.0]


# --- the cloud ----------------------------------------------------------------------------------------------


def test_a_startup_that_fails_is_paid_until_it_is_given_up_and_then_replaced() -> None:
    settings = WorldSettings(
        startup_spread=0.0, startup_failures=1.0, queue_lag_s=0.0, tail_s_max=1000.0, limits=PLAIN.limits
    )
    run = simulate(Script({0.0: 1}), traffic(0.0), settings)
    assert run.failed_startups == run.startups == 4
    assert math.isinf(run.latency_s[0])
    assert run.bill_s == 1000.0


def test_some_startups_fail_and_all_is_served() -> None:
    settings = WorldSettings(startup_failures=0.2)
    run = simulate(make_baseline("keda", settings.limits), make_traffic("poisson-bursts", 1), settings)
    assert run.failed_startups > 0
    assert np.isfinite(run.latency_s).all()


def test_a_cloud_that_refuses_launches_nothing() -> None:
    settings = WorldSettings(refusals=1.0, queue_lag_s=0.0, tail_s_max=10.0, limits=PLAIN.limits)
    run = simulate(Script({0.0: 3}), traffic(0.0), settings)
    assert run.startups == 0
    assert run.refused == 3 * 11
    assert run.bill_s == 0.0


def test_spot_takes_instances_away_and_nothing_is_lost() -> None:
    settings = WorldSettings(interruptions_per_hour=4.0)
    for name in ("keda", "buildkite"):
        run = simulate(make_baseline(name, settings.limits), make_traffic("step", 1), settings)
        assert np.isfinite(run.latency_s).all()


# --- sensors ------------------------------------------------------------------------------------------------


def test_the_queue_s_counts_are_as_old_as_the_sensor_s_lag() -> None:
    policy = Script({0.0: 1, 200.0: 0})
    settings = WorldSettings(startup_spread=0.0, queue_lag_s=3.0, limits=PLAIN.limits)
    simulate(policy, traffic(0.5, 10.5), settings)
    seen = {observed.now_s: observed for observed in policy.observations}
    assert [seen[at].visible for at in (3.0, 4.0, 13.0, 14.0)] == [0, 1, 1, 2]
    assert seen[14.0].seen_at_s == 11.0


def test_a_policy_that_counts_by_itself_sees_no_lag() -> None:
    policy = Script({0.0: 1, 200.0: 0}, ScalerTraits(KillRule.BLIND, has_own_counts=True))
    simulate(policy, traffic(0.5), WorldSettings(queue_lag_s=60.0, limits=PLAIN.limits))
    assert policy.observations[1].visible == 1


# --- what must hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_every_request_is_served_once_or_still_there(name: str) -> None:
    settings = WorldSettings(
        startup_failures=0.1, refusals=0.1, service_spread=0.5, interruptions_per_hour=1.0
    )
    for one in ("flash", "trickle"):
        run = simulate(make_baseline(name, settings.limits), make_traffic(one, 3), settings)
        served = np.isfinite(run.latency_s)
        assert served.all()
        assert (run.latency_s > 0).all()
        # the fleet cannot have done more work than it was paid for
        assert run.idle_s <= run.bill_s
        assert all(0 <= desired <= 20 for _, desired, _, _ in run.history)


@pytest.mark.parametrize("name", ["keda", "buildkite", "cortex"])
def test_the_same_seed_gives_the_same_run_to_the_byte(name: str) -> None:
    settings = WorldSettings(
        startup_failures=0.1, service_spread=0.5, queue_noise=0.1, interruptions_per_hour=0.5
    )

    def played(seed: int) -> tuple[bytes, object, str]:
        run = simulate(make_baseline(name, settings.limits), make_traffic("heavy-bursts", seed), settings)
        figures = figures_of(run, goal_s=230.0, price_per_hour=0.1)
        return run.latency_s.tobytes(), run.history, repr(figures)

    assert played(7) == played(7)
    assert played(7)[0] != played(8)[0]


@pytest.mark.parametrize("name", TRAFFICS)
def test_a_traffic_is_sorted_within_its_time_and_below_what_twenty_instances_do(name: str) -> None:
    one = make_traffic(name, 1)
    assert len(one.arrivals_s) > 10
    assert (np.diff(one.arrivals_s) >= 0).all()
    assert one.arrivals_s[0] >= 0
    assert one.arrivals_s[-1] <= one.duration_s
    assert len(one.arrivals_s) / one.duration_s < 40.0


def test_a_rank_is_a_latency_that_occurred() -> None:
    run = simulate(Script({0.0: 1, 300.0: 0}), traffic(0.0, 0.0, 150.0), PLAIN)
    figures = figures_of(run, goal_s=102.0, price_per_hour=3600.0)
    assert (figures.p50_s, figures.p99_s) == (102.0, 104.0)
    assert figures.share_over == pytest.approx(1 / 3)
    assert figures.cost == 300.0


def test_at_every_tick_what_was_sent_is_done_in_flight_or_visible() -> None:
    # given a fleet that is cut down and built up blindly while jobs run
    wants = {float(at): (at * 7) % 5 for at in range(0, 2000, 13)}
    policy = Script({**wants, 2000.0: 4, 5000.0: 0})

    steady = traffic(*(float(at) for at in range(0, 2400, 1)))
    settings = WorldSettings(
        queue_lag_s=0.0, startup_spread=0.1, limits=WorldLimits(startup_s=20.0, service_s=2.0)
    )

    run = simulate(policy, steady, settings)

    assert run.busy_kills > 0
    assert all(one.sent == one.done + one.in_flight + one.visible for one in policy.observations)
    assert all(one.busy <= one.in_service for one in policy.observations)
    assert policy.observations[-1].done == np.isfinite(run.latency_s).sum()
