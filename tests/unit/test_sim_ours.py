"""Our own policy in the simulated world: the production controller, driven to the end of a traffic."""

import numpy as np
import pytest

from beholder.draining.idle_limit import IdleSettings, Seniority
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.ours import IdleWorkers, Ours
from beholder.simulator.policy import WorldLimits
from beholder.simulator.run import Run, figures_of
from beholder.simulator.traffic import Traffic, make_traffic
from beholder.simulator.world import simulate

pytestmark = pytest.mark.pure


def played(traffic: Traffic, settings: WorldSettings) -> Run:
    return simulate(Ours(settings.limits, queue_lag_s=settings.queue_lag_s), traffic, settings)


def test_one_message_starts_one_instance_that_leaves_again() -> None:
    settings = WorldSettings(startup_spread=0.0)
    run = played(Traffic("one", "", np.asarray([60.0]), 60.0), settings)
    assert run.startups == 1
    # the controller wakes at once: the startup, the job, and nothing else
    assert run.latency_s[0] == pytest.approx(200.0 + 0.5)
    assert run.end_s < 3600.0


def test_where_messages_come_hours_apart_the_last_worker_learns_to_go_at_once() -> None:
    arrivals_s = np.arange(1.0, 10 * 3600.0, 3600.0)
    run = played(Traffic("hourly", "", arrivals_s, 10 * 3600.0), WorldSettings(startup_spread=0.0))
    assert run.startups == 10
    # the first three stays are by the prior, a startup; then a startup, the least stay, and the way out
    assert run.bill_s < 3 * 430 + 7 * 230


def test_where_they_come_within_a_startup_it_learns_to_stay() -> None:
    arrivals_s = np.arange(1.0, 5 * 3600.0, 150.0)
    run = played(Traffic("close", "", arrivals_s, 5 * 3600.0), WorldSettings(startup_spread=0.0))
    assert run.startups <= 5
    assert len(arrivals_s) == 120


@pytest.mark.parametrize("name", ["trickle", "poisson-bursts"])
def test_startup_times_that_were_set_wrong_are_learnt_by_controller_and_workers(name: str) -> None:
    """With 45 s true and 200 s set, workers paid 14.0 instance-hours instead of 4.8."""
    traffic, settings = make_traffic(name, 1), WorldSettings(WorldLimits(startup_s=45.0))
    right = played(traffic, settings)
    wrong = simulate(Ours(WorldLimits(startup_s=200.0), queue_lag_s=settings.queue_lag_s), traffic, settings)
    assert wrong.bill_s <= 1.05 * right.bill_s


def test_a_worker_reads_the_learnt_startup_time_when_it_first_rests_and_each_ten_minutes() -> None:
    """As in production (`draining.idle_monitor`), where each look is a GET."""
    settings = IdleSettings(startup_s=200.0)
    workers, alone = IdleWorkers(settings, service_s=0.5), Seniority()

    def stay_s(learnt_s: float, now_s: float) -> float:
        workers.startup_s = learnt_s
        if now_s > 0:
            workers.works(1, now_s - 290.0, now_s - 290.0)
        return workers.rests(1, now_s, alone)

    stays = [stay_s(*one) for one in ((40.0, 0.0), (80.0, 300.0), (80.0, 602.0))]
    # a worker that was busy stays for a startup
    assert stays == pytest.approx([40.0, 40.0, 80.0])


def test_with_a_fifth_of_startups_failing_all_is_served() -> None:
    run = played(make_traffic("on-off", 1), WorldSettings(startup_failures=0.2))
    assert run.failed_startups > 0
    assert np.isfinite(run.latency_s).all()


def test_refused_capacity_is_asked_for_again() -> None:
    run = played(make_traffic("flash", 1), WorldSettings(refusals=0.5))
    assert run.refused > 0
    assert np.isfinite(run.latency_s).all()


def test_spot_interruptions_lose_nothing_and_no_busy_worker_is_killed() -> None:
    run = played(make_traffic("step", 1), WorldSettings(interruptions_per_hour=3.0))
    assert run.busy_kills == 0
    assert np.isfinite(run.latency_s).all()


@pytest.mark.parametrize("name", ["step", "on-off", "poisson-bursts"])
def test_the_fleet_stays_within_its_bounds_and_returns_to_nothing(name: str) -> None:
    settings = WorldSettings(limits=WorldLimits(capacity_max=12))
    run = played(make_traffic(name, 2), settings)
    assert max(pending + serving for _, _, pending, serving in run.history) <= 12
    assert run.history[-1][2:] == (0, 0)


def test_a_warm_minimum_stays_and_is_paid_for() -> None:
    settings = WorldSettings(limits=WorldLimits(capacity_min=2))
    run = played(make_traffic("trickle", 1), settings)
    assert min(pending + serving for _, _, pending, serving in run.history) >= 2
    assert run.bill_s >= 2 * run.traffic.duration_s
    assert figures_of(run, goal_s=230.0, price_per_hour=0.1).p99_s < 5.0


def test_the_same_seed_gives_the_same_run_to_the_byte() -> None:
    settings = WorldSettings(startup_failures=0.1, service_spread=0.5, interruptions_per_hour=0.5)
    one, other = (played(make_traffic("heavy-bursts", 5), settings) for _ in range(2))
    assert one.latency_s.tobytes() == other.latency_s.tobytes()
    assert one.history == other.history
    assert one.bill_s == other.bill_s
