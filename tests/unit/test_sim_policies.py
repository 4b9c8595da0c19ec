"""The field's policies against the numbers that their defaults imply.

Each policy is driven as a control loop without a world: what it wants is there at once, so the times are the
policy's own and no startup's.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest

from beholder.simulator.baselines import BASELINES, make_baseline
from beholder.simulator.baselines.buildkite import Buildkite
from beholder.simulator.baselines.cortex import Cortex
from beholder.simulator.policy import KillRule, Policy, WorldLimits, WorldObservation

pytestmark = pytest.mark.pure

LIMITS = WorldLimits(capacity_min=0, capacity_max=20)
Path = list[tuple[float, int]]


def drive(policy: Policy, backlog: Callable[[float], int], end_s: float, *, desired: int = 0) -> Path:
    """Return the wanted number at each change; all that is wanted is in service at once."""
    now_s, path = 0.0, [(0.0, desired)]
    while now_s <= end_s:
        messages = backlog(now_s)
        busy = min(messages, desired)
        wanted = policy.tick(
            WorldObservation(now_s, now_s, messages - busy, busy, 0, 0, desired, 0, desired, busy)
        )
        if wanted.desired is not None and wanted.desired != desired:
            desired = wanted.desired
            path.append((now_s, desired))
        now_s = round(now_s + wanted.next_s, 6)
    return path


def sizes(path: Path) -> list[int]:
    return [size for _, size in path]


def when(path: Path, size: int) -> float:
    """Return when a size was first reached after the start."""
    return next(at_s for at_s, one in path[1:] if one == size)


def tail_hours(name: str, end_s: float = 12 * 3600.0) -> float:
    """Return the instance-hours from the moment at which twenty busy instances fall idle to zero."""
    idle_at_s = 4000.0
    busy = 20 if name != "ray" else 40
    many = busy * (5 if name.startswith(("keda", "sagemaker")) else 1)
    path = drive(
        make_baseline(name, LIMITS),
        lambda now_s: many if now_s < idle_at_s else 0,
        idle_at_s + end_s,
        desired=20,
    )
    held = [(max(at_s, idle_at_s), size) for at_s, size in path if at_s >= idle_at_s]
    assert held[-1][1] == 0
    steps = [(idle_at_s, 20), *held]
    return sum(size * (later - at_s) for (at_s, size), (later, _) in pairwise(steps)) / 3600


# --- Cortex -------------------------------------------------------------------------------------------------


def test_cortex_takes_550_s_from_zero_to_twenty_in_steps_of_half() -> None:
    path = drive(Cortex(LIMITS), lambda _: 1000, 700.0)
    assert sizes(path) == [0, 1, 2, 3, 5, 8, 12, 18, 20]
    assert 60.0 <= when(path, 1) <= 70.0
    assert when(path, 20) == 550.0
    # from one, the first step is held for a minute only
    assert when(drive(Cortex(LIMITS), lambda _: 1000, 700.0, desired=1), 20) == 480.0


def test_cortex_takes_3400_s_from_twenty_to_zero() -> None:
    path = drive(Cortex(LIMITS), lambda now_s: 1000 if now_s < 1000.0 else 0, 6000.0)
    assert sizes(path)[-1] == 0
    assert when(path[path.index((when(path, 20), 20)) :], 0) - 1000.0 == pytest.approx(3400.0, abs=60.0)


def test_cortex_keeps_what_is_within_five_percent() -> None:
    assert sizes(drive(Cortex(LIMITS), lambda _: 20, 1000.0, desired=20)) == [20]
    assert sizes(drive(Cortex(WorldLimits(capacity_max=100)), lambda _: 62, 1000.0, desired=60)) == [60]


# --- Ray ----------------------------------------------------------------------------------------------------


def test_ray_leaves_zero_at_its_first_sight_of_a_request() -> None:
    path = drive(make_baseline("ray", LIMITS), lambda now_s: int(now_s > 1.0), 100.0)
    assert path == [(0.0, 0), (10.1, 1)]


def test_ray_goes_out_30_s_after_it_first_wants_more() -> None:
    path = drive(make_baseline("ray", LIMITS), lambda now_s: 40 if now_s > 105 else 2, 200.0, desired=1)
    # pushed at 110, then wanted for 30 s
    assert path[1][0] == pytest.approx(140.0, abs=0.5)
    assert path[1][1] == 20


def test_ray_goes_in_after_600_s_and_to_zero_after_600_s_more() -> None:
    path = drive(make_baseline("ray", LIMITS), lambda now_s: 40 if now_s < 100 else 0, 2000.0, desired=20)
    assert sizes(path) == [20, 1, 0]
    assert path[1][0] == pytest.approx(700.0, abs=15.0)
    assert path[2][0] - path[1][0] == pytest.approx(600.0, abs=1.0)


# --- KEDA ---------------------------------------------------------------------------------------------------


def test_keda_goes_from_one_to_twenty_within_45_s() -> None:
    path = drive(make_baseline("keda", LIMITS), lambda _: 1000, 200.0, desired=1)
    assert sizes(path) == [1, 5, 10, 20]
    assert when(path, 20) <= 45.0


def test_keda_leaves_zero_at_its_next_poll_and_returns_after_300_s() -> None:
    path = drive(make_baseline("keda", LIMITS), lambda now_s: int(31.0 < now_s < 100.0), 1000.0)
    assert sizes(path) == [0, 1, 0]
    assert path[1][0] == 60.0
    assert path[2][0] - 90.0 == 300.0


def test_keda_keeps_what_is_within_a_tenth() -> None:
    assert sizes(drive(make_baseline("keda", LIMITS), lambda _: 54, 1000.0, desired=10)) == [10]
    assert sizes(drive(make_baseline("keda", LIMITS), lambda _: 56, 1000.0, desired=10)) == [10, 12]


# --- SageMaker ----------------------------------------------------------------------------------------------


def test_sagemaker_needs_two_minutes_to_leave_zero() -> None:
    path = drive(make_baseline("sagemaker", LIMITS), lambda now_s: int(now_s > 1.0), 300.0)
    assert path[1] == (120.0, 1)


def test_sagemaker_goes_out_after_three_minutes_over_its_target() -> None:
    path = drive(make_baseline("sagemaker", LIMITS), lambda now_s: 50 if now_s > 1.0 else 1, 600.0, desired=1)
    assert path[1] == (180.0, 10)


def test_in_its_cooldown_sagemaker_passes_only_a_larger_scale_out() -> None:
    def backlog(now_s: float) -> int:
        return 50 if now_s < 200.0 else 90

    path = drive(make_baseline("sagemaker", LIMITS), backlog, 700.0, desired=1)
    assert path[1] == (120.0, 10)
    assert path[2] == (360.0, 18)


def test_sagemaker_goes_in_by_one_each_300_s_after_fifteen_minutes() -> None:
    path = drive(make_baseline("sagemaker", LIMITS), lambda _: 0, 2000.0, desired=4)
    assert path[1:] == [(840.0, 3), (1140.0, 2), (1440.0, 1), (1740.0, 0)]
    uncapped = drive(make_baseline("sagemaker-uncapped", LIMITS), lambda _: 0, 2000.0, desired=4)
    assert uncapped[1:] == [(840.0, 0)]


# --- buildkite ----------------------------------------------------------------------------------------------


def test_buildkite_sees_a_job_within_ten_seconds_or_twenty_across_the_gap() -> None:
    policy = Buildkite(LIMITS)
    ticks, now_s = [], 0.0
    while now_s < 180.0:
        ticks.append(now_s)
        now_s += policy.tick(WorldObservation(now_s, now_s, 0, 0, 0, 0, 0, 0, 0, 0)).next_s
    assert {later - at_s for at_s, later in pairwise(ticks)} == {10.0, 20.0}
    assert drive(Buildkite(LIMITS), lambda now_s: 7 * int(now_s > 1.0), 60.0)[1] == (10.0, 7)


def test_buildkite_adds_one_while_less_than_half_of_its_instances_have_agents() -> None:
    observed = WorldObservation(0.0, 0.0, 2, 0, 0, 0, desired=2, pending=2, in_service=0, busy=0)
    assert Buildkite(LIMITS).tick(observed).desired == 3
    observed = WorldObservation(0.0, 0.0, 2, 0, 0, 0, desired=2, pending=1, in_service=1, busy=1)
    assert Buildkite(LIMITS).tick(observed).desired is None


def test_with_the_template_s_cooldown_buildkite_goes_out_each_300_s() -> None:
    path = drive(Buildkite(LIMITS, out_cooldown_s=300.0), lambda now_s: 1 + int(now_s / 10), 400.0)
    assert [at_s for at_s, _ in path] == [0.0, 0.0, 300.0]


# --- Knative ------------------------------------------------------------------------------------------------


def test_knative_wakes_at_once_and_panics_within_six_seconds() -> None:
    path = drive(make_baseline("knative", LIMITS), lambda now_s: 14 if now_s >= 10.0 else 0, 30.0)
    assert path[1][0] <= 11.0
    assert when(path, 20) <= 16.0


def test_knative_in_panic_never_goes_in_and_leaves_it_after_a_minute() -> None:
    path = drive(make_baseline("knative", LIMITS), lambda now_s: 14 if now_s < 8.0 else 0, 200.0, desired=1)
    most = max(sizes(path))
    fall_s = next(at_s for (_, before), (at_s, after) in pairwise(path) if after < before)
    assert most == 20
    assert 60.0 <= fall_s <= 70.0


def test_knative_goes_to_zero_after_a_stable_window_of_nothing_and_30_s() -> None:
    path = drive(make_baseline("knative", LIMITS), lambda now_s: int(now_s < 10.0), 300.0, desired=1)
    assert path[-1] == (pytest.approx(10.0 + 60.0 + 30.0, abs=3.0), 0)


def test_knative_takes_seventy_at_once_where_the_container_takes_a_hundred() -> None:
    assert sizes(drive(make_baseline("knative-100", LIMITS), lambda _: 139, 300.0, desired=1))[-1] == 2


# --- the class project --------------------------------------------------------------------------------------


def test_the_class_project_starts_one_for_each_waiting_request_and_nineteen_at_most() -> None:
    def desired(visible: int, *, pending: int = 0, in_service: int = 0, busy: int = 0) -> int | None:
        observed = WorldObservation(0.0, 0.0, visible, busy, 0, 0, 0, pending, in_service, busy)
        return make_baseline("class-project", LIMITS).tick(observed).desired

    assert desired(3) == 3
    assert desired(3, pending=2) == 3
    assert desired(3, in_service=4, busy=4) == 7
    assert desired(100) == 19


def test_the_class_project_stops_the_surplus_after_five_seconds() -> None:
    path = drive(make_baseline("class-project", LIMITS), lambda now_s: 6 if now_s < 20.0 else 0, 60.0)
    assert sizes(path) == [0, 6, 0]
    assert 25.0 <= path[-1][0] <= 32.0


# --- all of them --------------------------------------------------------------------------------------------

# Instance-hours paid for nothing after twenty busy workers fall idle at once, as the policies' defaults
# imply. For Ray the last instance's further 600 s are added to the usual 3.3. Knative's usual 0.5 is the
# bound 20 * 90 s: as its mean falls the fleet falls with it, so that the policy replayed takes less.
TAILS = {
    "keda": (1.7, 0.15),
    "ray": (3.33 + 600 / 3600, 0.1),
    "cortex": (7.2, 0.3),
    "sagemaker-uncapped": (5.0, 0.4),
}


@pytest.mark.parametrize("name", TAILS)
def test_the_idle_tail_is_what_the_defaults_imply(name: str) -> None:
    hours, tolerance = TAILS[name]
    assert tail_hours(name) == pytest.approx(hours, abs=tolerance)


def test_the_idle_tails_with_a_bound() -> None:
    assert 0.2 <= tail_hours("knative") <= 0.5
    assert tail_hours("sagemaker") >= 5.0


def test_buildkite_s_tail_is_its_workers_own_idle_time() -> None:
    rule = Buildkite(LIMITS).traits.worker_rule
    assert rule is not None
    assert 20 * rule.rests(0, 0.0, (20, 0)) / 3600 == pytest.approx(3.3, abs=0.05)


def test_each_policy_stops_instances_as_its_product_does() -> None:
    kills = {name: make_baseline(name, LIMITS).traits.kill for name in BASELINES}
    assert kills["keda"] is KillRule.BLIND
    assert kills["buildkite"] is kills["buildkite-300s"] is KillRule.SELF
    assert kills["class-project"] is KillRule.IDLE
    assert {kills[name] for name in ("cortex", "ray", "sagemaker", "knative")} == {KillRule.GRACEFUL}


@pytest.mark.parametrize("name", BASELINES)
def test_a_policy_stays_within_its_bounds(name: str) -> None:
    limits = WorldLimits(capacity_min=2, capacity_max=9)
    path = drive(make_baseline(name, limits), lambda now_s: 500 if now_s < 900 else 0, 9000.0, desired=2)
    # the class project knows its nineteen alone; the world bounds what it wants
    assert name == "class-project" or set(sizes(path)) <= set(range(2, 10))
