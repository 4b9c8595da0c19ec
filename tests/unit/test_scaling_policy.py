"""The policy, case by case; the field's bugs are among them, each named by where it was reported."""

import re
from dataclasses import replace
from random import Random

import pytest

from beholder.scaling import (
    Decision,
    InstanceSeen,
    InstanceState,
    Limits,
    Observation,
    PolicyState,
    ServiceSeen,
    decide,
)
from beholder.scaling.policy.limits import Aim
from beholder.scaling.policy.staffing import _must_wait, instances_for, load_of

LIMITS = Limits(startup_s=200.0, service_s=0.5, latency_goal_s=30.0, aim=Aim.DEADLINE, max=20)
STEADY = replace(LIMITS, aim=Aim.STEADY)
PENDING, DRAINING = (InstanceState.PENDING, False), (InstanceState.DRAINING, False)
IDLE, BUSY = (InstanceState.IN_SERVICE, False), (InstanceState.IN_SERVICE, True)
Condition = tuple[InstanceState, bool]


def instance(
    name: str, condition: Condition, launched_at_s: float, ready_at_s: float | None = None
) -> InstanceSeen:
    state, is_busy = condition
    return InstanceSeen(name, state, launched_at_s, ready_at_s, is_busy=is_busy)


def fleet(*conditions: Condition, age_s: float = 1000.0, now_s: float = 5000.0) -> tuple[InstanceSeen, ...]:
    return tuple(instance(f"i-{number}", one, now_s - age_s) for number, one in enumerate(conditions))


def at(backlog: int, *conditions: Condition, now_s: float = 5000.0, age_s: float = 1000.0) -> Observation:
    return Observation(now_s, backlog, instances=fleet(*conditions, age_s=age_s, now_s=now_s))


def decided(seen: Observation, limits: Limits = LIMITS, memory: PolicyState | None = None) -> Decision:
    return decide(seen, memory or PolicyState(), limits)[0]


@pytest.mark.parametrize("where", ["backlog", "in_flight", "delayed"])
def test_one_message_leaves_zero_at_once_wherever_it_is(where: str) -> None:
    """aws/copilot-cli#3376: a policy of backlog per instance cannot leave zero with one message."""
    seen = Observation(5000.0, **({"backlog": 0} | {where: 1}))
    assert decided(seen).launch == 1


def test_nothing_to_do_launches_nothing() -> None:
    assert decided(at(0)).launch == 0


def test_messages_in_flight_are_work() -> None:
    """kedacore/keda#1663: counting only visible messages scales in under running work."""
    seen = replace(at(0, BUSY), in_flight=5000)
    assert decided(replace(seen), replace(LIMITS, hold_max=10_000)).launch > 0


def test_pending_instances_count_for_what_they_will_deliver() -> None:
    """buildkite-agent-scaler#46, knative/serving#4344: over-scaled while instances were booting."""
    # given: enough was launched a moment ago for all that waits
    first, memory = decide(at(300), PolicyState(), LIMITS)
    ids = tuple(f"i-{number}" for number in range(first.launch))
    starting = tuple(instance(one, PENDING, 5000.0) for one in ids)
    # when: the same messages are seen again while they boot
    again, _ = decide(Observation(5005.0, 300, instances=starting), memory, LIMITS)
    # then
    assert first.launch == 10
    assert again.launch == 0


def test_launched_instances_count_before_the_cloud_shows_them() -> None:
    """kedacore/keda#7330: counters lag, so that the same backlog launched twice."""
    first, memory = decide(at(300), PolicyState(), LIMITS)
    memory = memory.after_launch(tuple(f"i-{number}" for number in range(first.launch)), 5000.0)
    again, _ = decide(Observation(5005.0, 300), memory, LIMITS)
    assert again.launch == 0
    assert again.alive == first.launch


def test_draining_instances_deliver_nothing() -> None:
    """buildkite-agent-scaler#39: draining instances counted as capacity, and jobs starved."""
    assert decided(at(10, BUSY)).launch == 0
    assert decided(at(10, DRAINING)).launch == 1


def test_draining_instances_count_towards_the_maximum() -> None:
    decision = decided(at(5000, *[DRAINING] * 19))
    assert decision.launch == 1
    assert "draining" in {one.name for one in decision.bounds}


def test_the_policy_plans_for_what_is_there_to_be_done_in_time() -> None:
    # given: a burst of 600; one instance does 30 within half of the goal
    decision = decided(at(600), replace(LIMITS, max=100))
    assert decision.launch == 20
    assert decision.bounds == ()


def test_slack_lets_few_instances_work_for_longer() -> None:
    """With 5 ready instances 2,150 messages are done within a startup and half of the goal."""
    assert decided(at(2150, *[BUSY] * 5)).launch == 0
    assert decided(at(2151, *[BUSY] * 5)).launch == 1


def test_every_bound_that_changed_the_number_is_named() -> None:
    decision = decided(at(5000), replace(LIMITS, max=5))
    (bound,) = decision.bounds
    assert (bound.name, bound.before, bound.after) == ("max", decision.raw, 5)
    assert "max" in decision.reason.lower()


def test_min_and_warm_are_kept_without_work() -> None:
    assert decided(at(0), replace(LIMITS, min=3)).launch == 3
    assert decided(at(0, BUSY), replace(LIMITS, warm_min=2)).launch == 1


def test_a_budget_caps_the_price_of_the_fleet() -> None:
    limits = replace(LIMITS, budget_per_hour=0.35, price_per_hour=0.1)
    decision = decided(at(5000), limits)
    assert decision.launch == 3
    assert decision.bounds[-1].name == "budget"


def test_an_overdue_startup_counts_less_and_less_and_is_replaced() -> None:
    """philips-labs#3493: boots that failed left jobs stuck."""
    # p95 of the prior is 300 s
    on_time, late, given_up = (decided(at(30, PENDING, age_s=age)).launch for age in (199.0, 550.0, 600.0))
    assert (on_time, late, given_up) == (0, 0, 1)


def test_failed_startups_wait_then_open_the_circuit_then_try_one() -> None:
    # given: five boots that vanished, one after the other
    memory, now_s = PolicyState(), 5000.0
    for number in range(5):
        starting = (instance(f"i-{number}", PENDING, now_s),)
        _, memory = decide(Observation(now_s, 100, instances=starting), memory, LIMITS)
        now_s += 5
        decision, memory = decide(Observation(now_s, 100), memory, LIMITS)
        launches = decision.launch
    # then: nothing is launched, and the reason says so
    assert launches == 0
    assert decision.bounds[-1].name == "circuit"
    assert "5 startups in a row failed" in decision.reason
    # when: the pause is over
    decision, memory = decide(Observation(now_s + 3600, 100), memory, LIMITS)
    assert decision.launch == 1
    # when: that one is on its way
    memory = memory.after_launch(("i-9",), now_s + 3600)
    decision, memory = decide(Observation(now_s + 3605, 500), memory, LIMITS)
    assert decision.launch == 0
    # when: it came up
    ready = (instance("i-9", IDLE, now_s + 3600, now_s + 3800),)
    decision, memory = decide(Observation(now_s + 3800, 5000, instances=ready), memory, LIMITS)
    assert decision.launch > 1


def test_one_failed_startup_is_replaced_at_once() -> None:
    _, memory = decide(at(10, PENDING, age_s=50), PolicyState(), LIMITS)
    decision, _ = decide(at(10, now_s=5005), memory, LIMITS)
    assert decision.launch == 1


def test_failed_startups_among_good_ones_do_not_open_the_circuit() -> None:
    """philips-labs#3493: with 20 % of boots failing the queue is drained all the same."""
    # given: ten launched together, of which the last six never came up and are given up at once
    ids = [f"i-{number}" for number in range(10)]
    starting = tuple(instance(one, PENDING, 5000.0) for one in ids)
    _, memory = decide(Observation(5005.0, 300, instances=starting), PolicyState(), LIMITS)
    up = tuple(instance(one, BUSY, 5000.0, 5200.0) for one in ids[:4])
    _, memory = decide(Observation(5205.0, 300, instances=up + starting[4:]), memory, LIMITS)
    # when
    decision, memory = decide(Observation(5605.0, 50_000, instances=up), memory, LIMITS)
    # then
    assert memory.failures == 0
    assert decision.launch == 16
    assert decision.forecast.startup_s_p95 < 300


def test_service_times_that_scatter_are_not_taken_for_short() -> None:
    draw, memory = Random(1), PolicyState()
    for _ in range(2000):
        seen = Observation(0.0, 0, services=(ServiceSeen("", draw.expovariate(2.0)),))
        _, memory = decide(seen, memory, LIMITS)
    assert memory.service_s("", LIMITS) == pytest.approx(0.5, rel=0.35)


def test_a_refusal_of_the_cloud_holds_launches_for_a_while() -> None:
    memory = PolicyState().after_refusal("no capacity for c7a.large", 5000.0, LIMITS)
    held = decided(at(10, now_s=5010.0), memory=memory)
    assert held.launch == 0
    assert "no capacity for c7a.large" in held.reason
    assert decided(at(10, now_s=5016.0), memory=memory).launch == 1


def test_refusals_wait_longer_each_time_up_to_a_bound() -> None:
    memory, pauses = PolicyState(), []
    for _ in range(12):
        memory = memory.after_refusal("no", 0.0, LIMITS)
        pauses.append(memory.refused_until_s)
    # capacity that comes back is used within a minute, ticks and the call included
    assert pauses[:3] == [15.0, 30.0, 45.0]
    assert pauses[-1] == 45.0


def test_stuck_in_flight_messages_in_flight_start_one_instance_and_no_more() -> None:
    """ray-project/ray#61551: pinned by in-flight counts of messages that nobody holds."""
    # given: three messages in flight, and nobody to hold them
    launched, memory, now_s = 0, PolicyState(), 5000.0
    for _ in range(1000):
        decision, memory = decide(Observation(now_s, 0, in_flight=3), memory, LIMITS)
        if decision.launch:
            launched += decision.launch
            # it comes up, finds nothing and leaves
            ids = tuple(f"{now_s}-{n}" for n in range(decision.launch))
            ready = tuple(instance(one, IDLE, now_s) for one in ids)
            _, memory = decide(Observation(now_s + 1, 0, 3, instances=ready), memory, LIMITS)
        now_s += 5
    # then: only as long as they could still come back
    assert launched <= (LIMITS.visibility_timeout_s + 10) / 5 + 1
    assert decision.launch == 0
    # and: a real message is served at once all the same
    assert decide(Observation(now_s, 1, in_flight=3), memory, LIMITS)[0].launch == 1


def test_service_times_are_learnt_and_learnt_anew_when_the_instance_changes() -> None:
    memory, now_s = PolicyState(), 5000.0
    for service_s in (0.5, 5.0):
        for _ in range(120):
            seen = Observation(now_s, 0, services=(ServiceSeen("", service_s),))
            _, memory = decide(seen, memory, LIMITS)
            now_s += 5
        assert memory.service_s("", LIMITS) == pytest.approx(service_s, rel=0.03)


def test_one_odd_service_time_moves_little() -> None:
    memory = PolicyState()
    for service_s in [0.5] * 40 + [500.0]:
        _, memory = decide(Observation(0.0, 0, services=(ServiceSeen("", service_s),)), memory, LIMITS)
    assert memory.service_s("", LIMITS) < 0.7


def test_startup_times_are_learnt_from_launch_to_ready() -> None:
    memory = PolicyState()
    for number in range(9):
        at_s = 1000.0 * number
        for condition, now_s in ((PENDING, at_s), (IDLE, at_s + 90)):
            one = instance(f"i-{number}", condition, at_s, at_s + 80 if condition is IDLE else None)
            decision, memory = decide(Observation(now_s, 0, instances=(one,)), memory, LIMITS)
    assert decision.forecast.startup_s == 80.0


def test_arrivals_are_learnt_from_depths() -> None:
    # given: 10 a second arrive, 4 a second are done
    memory = PolicyState()
    for tick in range(100):
        seen = at(1000 + tick * 30, BUSY, BUSY, now_s=5000 + tick * 5)
        seen = replace(seen, in_flight=2)
        decision, memory = decide(seen, memory, replace(LIMITS, service_s=0.5))
    assert decision.forecast.arrivals_per_s == pytest.approx(10.0, rel=0.05)


def test_steady_launches_before_the_queue_is_a_startup_long() -> None:
    memory, now_s = PolicyState(), 5000.0
    for tick in range(60):
        seen = replace(at(10 + tick * 10, *[BUSY] * 4, now_s=now_s + tick * 5), in_flight=4)
        patient, _ = decide(seen, memory, LIMITS)
        steady, memory = decide(seen, memory, STEADY)
    assert patient.launch == 0
    assert steady.launch >= 1
    assert "messages a second are expected" in steady.reason


def test_steady_keeps_instances_free_for_a_load_that_leaves_no_backlog() -> None:
    # given: five instances, all of them busy, as 9.6 messages a second keep them
    memory = PolicyState()
    for tick in range(400):
        at_s = 5000.0 + 5 * tick
        seen = replace(at(tick % 2, *[BUSY] * 5, now_s=at_s), in_flight=5)
        decision, memory = decide(seen, memory, STEADY)
    # then: one more serves this load without a wait
    assert decision.forecast.arrivals_per_s == pytest.approx(10.0, rel=0.1)
    assert decision.desired == 6


def test_steady_replaces_no_worker_that_leaves_after_the_last_message() -> None:
    # given: a steady load that keeps five instances busy
    state, now_s = PolicyState(), 5000.0
    for _ in range(200):
        _, state = decide(replace(at(1, *[BUSY] * 5, now_s=now_s), in_flight=5), state, STEADY)
        now_s += 5
    # when: it ends, and the workers leave, while the learnt rate is still that of the load
    launched = 0
    for left in range(5, -1, -1):
        decision, state = decide(at(0, *[IDLE] * left, now_s=now_s), state, STEADY)
        launched += decision.launch
        now_s += 5
    # then
    assert decision.forecast.arrivals_per_s > 1.0
    assert launched == 0


def test_steady_launches_for_growth_a_startup_ahead() -> None:
    desired = []
    for growth_per_s in (0.0, 0.02):
        # given: a load that was the same, or grew to the same, and keeps all 15 instances busy
        state = PolicyState()
        for tick in range(300):
            load = 15.0 - growth_per_s * (299 - tick) * 5 * 0.5
            busy = max(1, round(load))
            seen = replace(at(0, *[BUSY] * busy, now_s=5000.0 + 5 * tick), in_flight=busy)
            decision, state = decide(seen, state, STEADY)
        # when, then: what it is now is nearly the same, what is launched is not
        assert busy == 15
        assert decision.forecast.arrivals_per_s == pytest.approx(30.0, rel=0.05)
        desired.append(decision.desired)
    # the load in a startup of 200 s, less what the learnt rate lags behind
    assert desired[0] == 16
    assert desired[1] >= 17


def test_steady_launches_nothing_while_an_instance_is_free_or_the_rate_is_gone() -> None:
    # given: a load that keeps six instances busy
    state, now_s = PolicyState(), 5000.0
    for _ in range(200):
        _, state = decide(replace(at(1, *[BUSY] * 6, now_s=now_s), in_flight=6), state, STEADY)
        now_s += 5
    # when: four instances are left, and one of them is free
    free, _ = decide(replace(at(0, *[BUSY] * 3, IDLE, now_s=now_s), in_flight=3), state, STEADY)
    busy, _ = decide(replace(at(0, *[BUSY] * 4, now_s=now_s), in_flight=4), state, STEADY)
    # then
    assert (free.launch, busy.launch > 0) == (0, True)
    # and when: after half a minute with a load of one the remembered rate is still that of many
    for _ in range(6):
        now_s += 5
        gone, state = decide(replace(at(0, BUSY, BUSY, now_s=now_s), in_flight=1), state, STEADY)
    late, _ = decide(replace(at(1, BUSY, BUSY, now_s=now_s + 5), in_flight=1), state, STEADY)
    # then
    assert gone.forecast.arrivals_per_s > 6.0
    assert late.launch <= 1


def test_warm_instances_are_beyond_a_load_that_is_there() -> None:
    """After the last message each worker that left was replaced while the learnt rate fell."""
    limits, state, now_s = replace(STEADY, warm_min=2), PolicyState(), 5000.0
    for _ in range(200):
        seen = replace(at(1, *[BUSY] * 5, IDLE, IDLE, now_s=now_s), in_flight=5)
        decision, state = decide(seen, state, limits)
        now_s += 5
    assert decision.desired >= 7
    # when: no message is there any more
    for left in range(7, 1, -1):
        decision, state = decide(at(0, *[IDLE] * left, now_s=now_s), state, limits)
        now_s += 5
        # then: nothing is launched until only the warm ones are left
        assert (decision.launch, state.arrivals.per_s > 1.0) == (0, True)
    assert decide(at(0, IDLE, now_s=now_s), state, limits)[0].launch == 1


@pytest.mark.parametrize("retried", [0, 20])
def test_messages_that_wait_in_flight_for_their_next_try_keep_no_instance_busy(retried: int) -> None:
    # given: one of five instances works, and 20 messages wait hidden until they are tried again
    state = PolicyState()
    for tick in range(100):
        seen = replace(at(0, BUSY, *[IDLE] * 4, now_s=5000.0 + 5 * tick), in_flight=1 + retried)
        decision, state = decide(seen, state, STEADY)
    assert decision.forecast.arrivals_per_s == pytest.approx(2.0, rel=0.1)


def test_arrivals_are_seen_where_sqs_counts_nothing_in_flight_and_the_backlog_stays() -> None:
    state = PolicyState()
    for tick in range(100):
        decision, state = decide(at(30, *[BUSY] * 5, now_s=5000.0 + 5 * tick), state, STEADY)
    assert decision.forecast.arrivals_per_s == pytest.approx(10.0, rel=0.1)


def test_the_formula_of_erlang_says_how_many_serve_a_load() -> None:
    """Tables of the formula: with ten for a load of eight, 0.409 of the requests wait."""
    assert _must_wait(10, 8.0) == pytest.approx(0.409, abs=0.001)
    assert [instances_for(load) for load in (0.0, 0.5, 1.0, 5.0, 10.0, 99.0)] == [0, 1, 2, 6, 11, 100]
    for count in (1, 2, 7, 40):
        assert instances_for(load_of(count)) == count
        # what a worker leaves behind is not launched for again
        assert load_of(count) < count


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (at(1, PENDING, age_s=1.0), "1 message to do; 1 instance will have done"),
        (at(2, PENDING, PENDING, age_s=1.0), "2 messages to do; 2 instances will have done"),
        (at(1), "1 message to do; 0 instances will have done"),
        (at(0, IDLE), "no message waits; 1 instance, which leaves when"),
        (at(0, IDLE, IDLE), "no message waits; 2 instances, each leaves when"),
        (at(0), "no message waits; 0 instances."),
    ],
)
def test_a_reason_has_one_of_what_is_one(seen: Observation, said: str) -> None:
    reason = decided(seen).reason
    assert said in reason
    assert not re.search(r"\b1 (messages|instances|more are|times|startups)", reason)
