"""The policy: how many instances to launch now, as a pure function of what was seen, remembered and allowed.

The goal is a deadline. A request that arrives now may take a startup and the goal, so an instance that is
launched now can still serve it in time; one that arrives later has later instances. So the policy launches
only what the messages that are there now need to be done within startup + goal, after everything that the
instances there are will deliver by then, a pending one for exactly what is left of the horizon after its
startup.

Nothing here ends an instance: an idle worker leaves by its own rule (`draining.idle_limit`), and the
controller's reaper (`scaling.policy.reaper`) ends what hangs.
"""

from dataclasses import dataclass
from math import ceil

from beholder.clock import age_s
from beholder.scaling.policy.decision import Bound, Decision, Forecast
from beholder.scaling.policy.learning import learn, messages_of
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import InstanceState, Observation
from beholder.scaling.policy.state import PolicyState

__all__ = ["decide"]

_GOAL_PLANNED = 0.5
_MESSAGES_MIN = 1e-9


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The instances as the policy counts them."""

    alive: int
    draining: int
    per_s: float
    delivered: float
    price_per_hour: float


def decide(seen: Observation, state: PolicyState, limits: Limits) -> tuple[Decision, PolicyState]:
    """Return how many instances to launch, with every reason, and the state for the next tick.

    Args:
        seen: The queue and the fleet now.
        state: What the last call returned, after the controller added what it launched or was refused.
        limits: The operator's settings.
    """
    state = learn(seen, state, limits)
    startups = state.startup_times(limits)
    slack_s = _slack_s(limits)
    horizon_s = startups.median_s + slack_s
    service_s = state.service_s(limits.instance_type, limits)
    fleet = _count(seen, state, limits, horizon_s)
    messages = messages_of(seen, state)
    # With patience below 1 a later arrival has an earlier deadline, so that some of them count already.
    expected = state.arrivals.per_s * (1.0 - limits.startup_patience) * startups.median_s
    left = messages + expected - fleet.delivered
    raw = fleet.alive
    if left > _MESSAGES_MIN and messages + expected >= 1.0:
        raw += max(1, ceil(left * service_s / slack_s - 1e-9))
    desired, bounds = _bounded(raw, fleet, seen, state, limits)
    surplus = fleet.per_s - state.arrivals.per_s
    forecast = Forecast(
        arrivals_per_s=state.arrivals.per_s,
        service_s=service_s,
        startup_s=startups.median_s,
        startup_s_p95=startups.p95_s,
        horizon_s=horizon_s,
        messages=messages + expected,
        delivered=fleet.delivered,
        drained_s=messages / surplus if surplus > 0 else None,
    )
    decision = Decision(
        alive=fleet.alive,
        raw=raw,
        desired=desired,
        launch=max(0, desired - fleet.alive),
        bounds=tuple(bounds),
        reason=_reason(raw, fleet, forecast, bounds),
        forecast=forecast,
    )
    return decision, state


def _slack_s(limits: Limits) -> float:
    """Return how much of the goal a launch plans with: half; the rest is for startups that take long.

    By the simulator, all of it is 3 to 5 % cheaper and makes 3 to 7 requests in 100 late over its traffics
    instead of 2.5; a third is 2 % dearer and makes 2 late.
    """
    return max(limits.latency_goal_s * _GOAL_PLANNED, limits.slack_s_min)


def _count(seen: Observation, state: PolicyState, limits: Limits, horizon_s: float) -> _Fleet:
    """Return what the instances that are there, or on their way, will deliver within the horizon."""
    startups = state.startup_times(limits)
    speeds: dict[str, float] = {}
    alive = draining = 0
    per_s = delivered = price = 0.0
    for one in seen.instances:
        price += one.price_per_hour
        if one.state is InstanceState.DRAINING:
            draining += 1
            continue
        alive += 1
        speed = speeds.get(one.instance_type)
        if speed is None:
            speed = speeds[one.instance_type] = 1.0 / state.service_s(one.instance_type, limits)
        if one.state is InstanceState.PENDING:
            old_s = age_s(seen.now_s, one.launched_at_s)
            if not state.is_overdue(old_s, limits):
                delivered += speed * max(0.0, horizon_s - startups.left_s(old_s)) * startups.trust(old_s)
        else:
            per_s += speed
            delivered += speed * horizon_s
    new_speed = 1.0 / state.service_s(limits.instance_type, limits)
    for launched in state.unseen:
        alive += 1
        price += limits.price_per_hour
        delivered += new_speed * max(0.0, horizon_s - startups.left_s(age_s(seen.now_s, launched.at_s)))
    return _Fleet(alive, draining, per_s, delivered, price)


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
        load = ceil(state.arrivals.per_s * state.service_s(limits.instance_type, limits) - 0.1)
        floor = max(0, load) + limits.warm_min
        why = f"{limits.warm_min} warm beyond the {max(0, load)} that the load needs"
        desired = bound("warm", desired, max(desired, floor), why)
    desired = bound("min", desired, max(desired, limits.min), f"never fewer than {limits.min}")
    desired = bound("max", desired, min(desired, limits.max), f"never more than {limits.max}")
    # What drains does no work but is still there: together they stay within the maximum too.
    most = max(limits.max - fleet.draining, min(fleet.alive, desired))
    why = f"{fleet.draining} still drain, and together never more than {limits.max}"
    desired = bound("draining", desired, min(desired, most), why)
    desired = bound("budget", desired, *_affordable(desired, fleet, limits))
    if desired > fleet.alive and seen.now_s < state.refused_until_s:
        wait_s = state.refused_until_s - seen.now_s
        why = f"the cloud refused {state.refusals} times ({state.refusal}); next try in {wait_s:.0f} s"
        desired = bound("refusal", desired, fleet.alive, why)
    return bound("circuit", desired, *_circuit(desired, fleet, seen, state, limits)), bounds


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
    if seen.now_s < state.held_until_s:
        wait_s = state.held_until_s - seen.now_s
        phase = "the circuit is open" if state.is_half_open else "waiting"
        return fleet.alive, f"{state.failures} startups in a row failed; {phase} for {wait_s:.0f} s more"
    if state.is_half_open:
        launches_s = (*state.starting.values(), *(one.at_s for one in state.unseen))
        on_trial = any(not state.is_overdue(age_s(seen.now_s, at_s), limits) for at_s in launches_s)
        why = f"{state.failures} startups in a row failed; one launch shows whether they succeed again"
        return (fleet.alive if on_trial else min(desired, fleet.alive + 1)), why
    return desired, ""


def _reason(raw: int, fleet: _Fleet, forecast: Forecast, bounds: list[Bound]) -> str:
    """Return the decision in words."""
    work = f"{forecast.messages:.0f} messages"
    reach = (
        f"{fleet.alive} instances will have done {forecast.delivered:.0f} within {forecast.horizon_s:.0f} s"
    )
    if raw > fleet.alive:
        text = f"{work} to do; {reach}; {raw - fleet.alive} more are needed to keep the goal"
    elif forecast.messages < 1:
        text = f"no message waits; {fleet.alive} instances, each leaves when it has been idle long enough"
    else:
        text = f"{work} to do; {reach}; that is enough"
    changed = "; ".join(f"{one.name}: {one.before} to {one.after}, {one.why}" for one in bounds)
    return f"{text}. {changed[0].upper()}{changed[1:]}." if changed else f"{text}."
