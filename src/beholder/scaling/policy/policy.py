"""The policy: how many instances to launch now, as a pure function of what was seen, remembered and allowed.

Two needs count. The messages that are there now are to be served within a startup and the goal, so an
instance that is launched now can still serve them in time (`_for_messages`). With the aim `deadline` that is
all: a request that arrives later has later instances. With the aim `steady` the arrivals count too, as they
are expected when an instance that is launched now is in service: they are served as they come, near the
service time, and a backlog that growth left is gone a startup later (`_for_arrivals`).

Nothing here ends an instance: an idle worker leaves by its own rule (`draining.idle_limit`), and the
controller's reaper (`scaling.policy.reaper`) ends what hangs.
"""

from dataclasses import dataclass
from math import ceil

from beholder.clock import age_s
from beholder.scaling.policy.decision import Bound, Decision, Forecast
from beholder.scaling.policy.learning import learn
from beholder.scaling.policy.limits import Aim, Limits
from beholder.scaling.policy.observation import InstanceState, Observation
from beholder.scaling.policy.staffing import instances_for
from beholder.scaling.policy.state import PolicyState
from beholder.words import counted

__all__ = ["decide"]

_GOAL_PLANNED = 0.5
_MESSAGES_MIN = 1e-9
# The learnt rate errs; of an instance that it asks for, less than this part is no reason to launch.
_LAUNCH_PART = 0.5
# A smaller load keeps no instance for itself; its messages get one when they come.
_LOAD_MIN = 0.3
# Growth adds no more than this share of the present rate: the start of a burst looks like steep growth.
_GROWTH_SHARE_MAX = 0.25


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The instances as the policy counts them.

    Args:
        alive: Those that do not drain, launched and not yet seen ones included.
        draining: Those that drain.
        in_service: Those in service.
        per_s: Messages per second of those in service.
        startups: Of each on its way: messages per second, seconds until it serves, trust in it.
        price_per_hour: Of all.
    """

    alive: int
    draining: int
    in_service: int
    per_s: float
    startups: tuple[tuple[float, float, float], ...]
    price_per_hour: float

    def delivered(self, horizon_s: float) -> float:
        """Return how many messages they can serve within a time."""
        later = (speed * max(0.0, horizon_s - left_s) * trust for speed, left_s, trust in self.startups)
        return self.per_s * horizon_s + sum(later)


@dataclass(frozen=True, slots=True)
class _Need:
    """How many instances there should be, and why; `why` is empty if that is no more than there are."""

    count: int
    why: str = ""


def decide(seen: Observation, state: PolicyState, limits: Limits) -> tuple[Decision, PolicyState]:
    """Return how many instances to launch, with every reason, and the state for the next tick.

    Args:
        seen: The queue and the fleet now.
        state: What the last call returned, after the controller added what it launched or was refused.
        limits: The operator's settings.
    """
    state = learn(seen, state, limits)
    startups = state.startup_times(limits)
    horizon_s = startups.median_s + _slack_s(limits)
    fleet = _count(seen, state, limits)
    messages = state.messages.now
    surplus = fleet.per_s - state.arrivals.per_s
    forecast = Forecast(
        arrivals_per_s=state.arrivals.per_s,
        service_s=state.service_s(limits.instance_type, limits),
        startup_s=startups.median_s,
        startup_s_p95=startups.p95_s,
        horizon_s=horizon_s,
        messages=messages,
        delivered=fleet.delivered(horizon_s),
        drained_s=messages / surplus if surplus > 0 else None,
    )
    need = _for_messages(fleet, forecast, limits)
    # Where an instance is free, the load has all that it needs. While the learnt rate falls, workers leave;
    # the rate does not replace them.
    if limits.aim is Aim.STEADY and messages >= max(1, fleet.in_service):
        need = max(need, *_for_arrivals(fleet, forecast, state, limits), key=lambda one: one.count)
    desired, bounds = _bounded(need.count, fleet, seen, state, limits)
    decision = Decision(
        alive=fleet.alive,
        raw=need.count,
        desired=desired,
        launch=max(0, desired - fleet.alive),
        bounds=tuple(bounds),
        reason=_reason(need, fleet, forecast, bounds, _messages(seen)),
        forecast=forecast,
    )
    return decision, state


def _slack_s(limits: Limits) -> float:
    """Return how much of the goal a launch plans with: half; the rest is for startups that take long.

    By the simulator, all of it is 3 to 5 % cheaper and makes 3 to 7 requests in 100 late over its traffics
    instead of 2.5; a third is 2 % dearer and makes 2 late.
    """
    return max(limits.latency_goal_s * _GOAL_PLANNED, limits.slack_s_min)


def _for_messages(fleet: _Fleet, forecast: Forecast, limits: Limits) -> _Need:
    """Return what the messages that are there now need to be served within a startup and the goal."""
    left = forecast.messages - forecast.delivered
    if left <= _MESSAGES_MIN or forecast.messages < 1.0:
        return _Need(fleet.alive)
    more = max(1, ceil(left * forecast.service_s / _slack_s(limits) - 1e-9))
    return _Need(fleet.alive + more, f"{_more(more)} needed to keep the goal")


def _for_arrivals(
    fleet: _Fleet, forecast: Forecast, state: PolicyState, limits: Limits
) -> tuple[_Need, _Need]:
    """Return what the arrivals need that are expected once an instance that is launched now serves.

    The first need is that of backlog and arrivals together: nothing waits a startup after that startup. More
    haste would launch many instances that only a backlog needs. The second is that of a steady load, of which
    some instances must be free at most times.
    """
    per_s = state.arrivals_after(forecast.startup_s, limits, share_max=_GROWTH_SHARE_MAX)
    drain_s = max(forecast.startup_s, limits.latency_goal_s, limits.slack_s_min)
    until_s = forecast.startup_s + drain_s
    left = forecast.messages + per_s * until_s - fleet.delivered(until_s)
    more = max(0, ceil(left * forecast.service_s / drain_s - _LAUNCH_PART))
    arriving = f"{per_s:.3g} messages a second are expected"
    backlog = _Need(
        fleet.alive + more, f"{arriving}; {_more(more)} needed to serve all within {until_s:.0f} s"
    )
    load = per_s * forecast.service_s
    count = instances_for(load) if load > _LOAD_MIN else 0
    steady = _Need(
        count, f"{arriving}, a load of {load:.2f}, which {count} {_verb(count, 'serve')} without a wait"
    )
    return backlog, steady


def _count(seen: Observation, state: PolicyState, limits: Limits) -> _Fleet:
    """Return the instances that are there, or on their way, by what they can deliver."""
    estimate = state.startup_times(limits)
    speeds: dict[str, float] = {}
    startups: list[tuple[float, float, float]] = []
    alive = draining = in_service = 0
    per_s = price = 0.0
    for one in seen.instances:
        price += one.price_per_hour
        if one.state is InstanceState.DRAINING:
            draining += 1
            continue
        alive += 1
        speed = speeds.get(one.instance_type)
        if speed is None:
            speed = speeds[one.instance_type] = 1.0 / state.service_s(one.instance_type, limits)
        if one.state is not InstanceState.PENDING:
            in_service += 1
            per_s += speed
            continue
        old_s = age_s(seen.now_s, one.launched_at_s)
        if not state.is_overdue(old_s, limits):
            startups.append((speed, estimate.left_s(old_s), estimate.trust(old_s)))
    new_speed = 1.0 / state.service_s(limits.instance_type, limits)
    for launched in state.unseen:
        alive += 1
        price += limits.price_per_hour
        startups.append((new_speed, estimate.left_s(age_s(seen.now_s, launched.at_s)), 1.0))
    return _Fleet(alive, draining, in_service, per_s, tuple(startups), price)


def _bounded(
    raw: int, fleet: _Fleet, seen: Observation, state: PolicyState, limits: Limits
) -> tuple[int, list[Bound]]:
    """Return the number after every bound, and each bound that changed it."""
    bounds: list[Bound] = []

    def bound(name: str, before: int, after: int, why: str) -> int:
        if after != before:
            bounds.append(Bound(name, before, after, why))
        return after

    desired = raw
    if limits.warm_min:
        load = _load(state, limits)
        floor = load + limits.warm_min
        why = f"{limits.warm_min} warm beyond the {load} that the load needs"
        desired = bound("warm", desired, max(desired, floor), why)
    desired = bound("min", desired, max(desired, limits.min), f"never fewer than {limits.min}")
    desired = bound("max", desired, min(desired, limits.max), f"never more than {limits.max}")
    # What drains does no work but is still there: together they stay within the maximum too.
    most = max(limits.max - fleet.draining, min(fleet.alive, desired))
    why = (
        f"{fleet.draining} still {_verb(fleet.draining, 'drain')}, and together never more than {limits.max}"
    )
    desired = bound("draining", desired, min(desired, most), why)
    desired = bound("budget", desired, *_affordable(desired, fleet, limits))
    if desired > fleet.alive and seen.now_s < state.refused_until_s:
        wait_s = state.refused_until_s - seen.now_s
        refused = f"the cloud refused {counted(state.refusals, 'time')} ({state.refusal})"
        why = f"{refused}; next try in {wait_s:.0f} s"
        desired = bound("refusal", desired, fleet.alive, why)
    return bound("circuit", desired, *_circuit(desired, fleet, seen, state, limits)), bounds


def _load(state: PolicyState, limits: Limits) -> int:
    """Return how many instances the arrivals keep busy; none after the last message."""
    if state.messages.now < 1:
        return 0
    return max(0, ceil(state.present_per_s * state.service_s(limits.instance_type, limits) - 0.1))


def _affordable(desired: int, fleet: _Fleet, limits: Limits) -> tuple[int, str]:
    budget = limits.budget_per_hour
    if budget is None or desired <= fleet.alive or limits.price_per_hour <= 0:
        return desired, ""
    room = max(0, int((budget - fleet.price_per_hour) / limits.price_per_hour + 1e-9))
    spent, price = fleet.price_per_hour, limits.price_per_hour
    why = f"{spent:.3f} of {budget:.3f} per hour are spent, one more costs {price:.3f}"
    return min(desired, fleet.alive + room), why


def _circuit(
    desired: int, fleet: _Fleet, seen: Observation, state: PolicyState, limits: Limits
) -> tuple[int, str]:
    """Hold launches after failed startups; once the circuit has been open for its time, let one through.

    One that takes long keeps the next one waiting for no longer than a pause does.
    """
    if desired <= fleet.alive:
        return desired, ""
    failed = "the startup failed" if state.failures == 1 else f"{state.failures} startups in a row failed"
    if seen.now_s < state.held_until_s:
        wait_s = state.held_until_s - seen.now_s
        phase = "the circuit is open" if state.is_half_open else "waiting"
        return fleet.alive, f"{failed}; {phase} for {wait_s:.0f} s more"
    if state.is_half_open:
        launches_s = (*state.starting.values(), *(one.at_s for one in state.unseen))
        on_trial = any(not state.is_overdue(age_s(seen.now_s, at_s), limits) for at_s in launches_s)
        why = f"{failed}; one launch shows whether they succeed again"
        return (fleet.alive if on_trial else min(desired, fleet.alive + 1)), why
    return desired, ""


def _messages(seen: Observation) -> int:
    return seen.backlog + seen.in_flight + seen.delayed


def _more(count: int) -> str:
    return f"{count} more {'is' if count == 1 else 'are'}"


def _verb(count: int, plural: str) -> str:
    return f"{plural}s" if count == 1 else plural


def _reason(need: _Need, fleet: _Fleet, forecast: Forecast, bounds: list[Bound], shown: int) -> str:
    """Return the decision in words."""
    work = counted(forecast.messages, "message")
    if forecast.messages > shown:
        work = f"{work}, of which the queue's counts show {shown},"
    instances = counted(fleet.alive, "instance")
    reach = f"{instances} will have done {forecast.delivered:.0f} within {forecast.horizon_s:.0f} s"
    if need.count > fleet.alive:
        text = f"{work} to do; {reach}; {need.why}"
    elif forecast.messages < 1:
        text = f"no message waits; {instances}"
        if fleet.alive:
            who = "which" if fleet.alive == 1 else "each"
            text = f"{text}, {who} leaves when it has been idle long enough"
    else:
        text = f"{work} to do; {reach}; that is enough"
    changed = "; ".join(f"{one.name}: {one.before} to {one.after}, {one.why}" for one in bounds)
    return f"{text}. {changed[0].upper()}{changed[1:]}." if changed else f"{text}."
