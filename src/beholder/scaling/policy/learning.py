"""Updates the estimates: startup times, service times, the arrival rate, messages stuck in flight."""

from dataclasses import replace
from math import inf

from beholder.clock import age_s
from beholder.scaling.policy.decision import FailedStartup
from beholder.scaling.policy.estimate import ServiceTime
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation
from beholder.scaling.policy.state import FAST_TAUS, SLOW_TAUS, Launched, Past, PolicyState

__all__ = ["learn"]

_UNSEEN_S_MAX = 120.0  # DescribeInstances shows a launch within seconds; after this it never came


def learn(seen: Observation, state: PolicyState, limits: Limits) -> PolicyState:
    """Return the state after an observation, with every estimate updated; pure."""
    state = _learn_startups(seen, state, limits)
    state = _learn_services(seen, state)
    state = _notice_stuck_in_flight(seen, state, limits)
    state = _count_messages(seen, state, limits)
    return _learn_arrivals(seen, state, limits)


def _count_messages(seen: Observation, state: PolicyState, limits: Limits) -> PolicyState:
    """Count the messages that are there, without those stuck in flight."""
    in_flight = max(0, seen.in_flight - state.stuck_in_flight)
    counted = max(0, seen.backlog) + in_flight + max(0, seen.delayed)
    count = state.messages.seen(counted, seen.unanswered, now_s=seen.now_s, lag_s=limits.lag_s)
    return replace(state, messages=count)


def _notice_stuck_in_flight(seen: Observation, state: PolicyState, limits: Limits) -> PolicyState:
    """Estimate how many of the messages in flight no instance can hold.

    More are in flight than the busy instances can hold: a worker died and its messages come back, or the
    count is wrong. They count for a visibility timeout, and then no more for as long as the count stays up,
    so that a wrong count starts instances once and not for ever.
    """
    stuck_in_flight = min(state.stuck_in_flight, seen.in_flight)
    holders = sum(one.is_busy or one.state is InstanceState.DRAINING for one in seen.instances)
    excess = seen.in_flight - holders * limits.hold_max
    since_s, low = state.excess_since_s, state.excess_low
    if excess <= 0:
        since_s, low = None, 0
    elif since_s is None:
        since_s, low = seen.now_s, excess
    else:
        low = min(low, excess)
        if seen.now_s - since_s > limits.visibility_timeout_s + limits.lag_s + limits.tick_s:
            stuck_in_flight = max(stuck_in_flight, low)
    if (stuck_in_flight, since_s, low) == (state.stuck_in_flight, state.excess_since_s, state.excess_low):
        return state
    return replace(state, stuck_in_flight=stuck_in_flight, excess_since_s=since_s, excess_low=low)


def _learn_startups(seen: Observation, state: PolicyState, limits: Limits) -> PolicyState:
    startups = state.startup_times(limits)
    awaited = {one.id for one in state.unseen} | state.starting.keys() | state.given_up
    starting: dict[str, float] = {}
    there: set[str] = set()
    good_launches_s: list[float] = []
    failed: list[FailedStartup] = []
    for one in seen.instances:
        there.add(one.id)
        if one.state is InstanceState.PENDING:
            starting[one.id] = one.launched_at_s
        elif one.id not in awaited:
            continue
        elif _never_served(one):
            failed.append(
                FailedStartup(one.id, "ended", age_s(seen.now_s, one.launched_at_s), one.instance_type)
            )
        else:
            # An instance that came up while no controller led has been up for an unknown time.
            if one.ready_at_s is not None or one.id not in state.inherited:
                ready_at_s = one.ready_at_s if one.ready_at_s is not None else seen.now_s
                startups = startups.seen(ready_at_s - one.launched_at_s)
            good_launches_s.append(one.launched_at_s)
    good, lost, unseen = _of_the_gone(seen, state, there)
    good_launches_s += good
    state = replace(
        state,
        startups=startups,
        starting={one: at_s for one, at_s in starting.items() if one not in state.given_up},
        unseen=unseen,
        good_launch_s=max((state.good_launch_s, *good_launches_s)),
        given_up=state.given_up & _not_up(seen),
    )
    state = state.after_failed_startups((*failed, *lost), seen.now_s, limits)
    if good_launches_s:
        state = replace(state, failures=0, held_until_s=0.0, is_half_open=False)
    return state


def _not_up(seen: Observation) -> set[str]:
    return {one.id for one in seen.instances if one.state is InstanceState.PENDING or _never_served(one)}


def _never_served(one: InstanceSeen) -> bool:
    """Say whether an instance ends, or was ended, without a heartbeat."""
    return one.state is InstanceState.DRAINING and one.last_heartbeat_at_s is None


def _of_the_gone(
    seen: Observation, state: PolicyState, there: set[str]
) -> tuple[list[float], list[FailedStartup], tuple[Launched, ...]]:
    """Return the launches that came up and left, those that failed, and those that may still be seen."""
    good: list[float] = []
    lost: list[FailedStartup] = []
    unseen: list[Launched] = []
    never_seen = {one.id: one.at_s for one in state.unseen}
    for one_id, at_s in (never_seen | state.starting).items():
        if one_id in there:
            continue
        age = age_s(seen.now_s, at_s)
        if seen.last_heartbeats.get(one_id, -inf) >= at_s:
            good.append(at_s)
        elif one_id in state.starting:
            lost.append(FailedStartup(one_id, "ended", age))
        elif age < _UNSEEN_S_MAX:
            unseen.append(Launched(one_id, at_s))
        else:
            lost.append(FailedStartup(one_id, "unseen", age))
    return good, lost, tuple(unseen)


def _learn_services(seen: Observation, state: PolicyState) -> PolicyState:
    samples = [(one.instance_type, one.service_s) for one in seen.services]
    if not samples:
        return state
    services = dict(state.services)
    for instance_type, service_s in samples:
        # All types together are kept under "", for a type that was never seen.
        for name in {instance_type, ""}:
            services[name] = services.get(name, ServiceTime(service_s)).seen(service_s)
    return replace(state, services=services)


def _learn_arrivals(seen: Observation, state: PolicyState, limits: Limits) -> PolicyState:
    past, now = state.past, _counts_of(seen, state)
    arrivals, slow, fast = state.arrivals, state.arrivals_slow, state.arrivals_fast
    if past is not None and seen.now_s > past.now_s:
        over_s = seen.now_s - past.now_s
        arrived = _arrived(past, now, state.service_s(limits.instance_type, limits))
        arrivals = arrivals.seen(arrived, over_s, tau_s=limits.arrivals_tau_s)
        slow = slow.seen(arrived, over_s, tau_s=SLOW_TAUS * limits.arrivals_tau_s)
        fast = fast.seen(arrived, over_s, tau_s=FAST_TAUS * limits.arrivals_tau_s)
    return replace(state, arrivals=arrivals, arrivals_slow=slow, arrivals_fast=fast, past=now)


def _counts_of(seen: Observation, state: PolicyState) -> Past:
    return Past(
        now_s=seen.now_s,
        messages=state.messages.now,
        backlog=max(0, seen.backlog),
        in_flight=max(0, seen.in_flight - state.stuck_in_flight),
        ready=sum(one.state is InstanceState.IN_SERVICE for one in seen.instances),
        busy=sum(one.is_busy for one in seen.instances),
    )


def _arrived(past: Past, now: Past, service_s: float) -> float:
    """Return the arrivals between two observations, by the depths and the service time.

    What was done meanwhile follows from how many instances were busy. By Little's law each message in flight
    keeps one busy; where SQS counts too few in flight, those that wait show that instances are busy. No more
    are busy than say so: messages in flight may wait for their next try, and counts may be old.
    """
    held = max((past.in_flight + now.in_flight) / 2, float(min(past.backlog, now.backlog)))
    busy = min(held, float(past.ready), float(max(past.busy, now.busy)))
    done = busy * (now.now_s - past.now_s) / service_s
    return max(0.0, now.messages - past.messages + done)
