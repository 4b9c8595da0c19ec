"""The document of `GET /v1/fleet`: the controller's last record, as callers see it."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from beholder.clock import age_s
from beholder.documents import Count, NotNegative, Time
from beholder.scaling.policy.decision import Bound, FailedStartup, Forecast, Termination
from beholder.scaling.policy.observation import InstanceSeen, InstanceState
from beholder.scaling.records.snapshot import FleetSnapshot

__all__ = ["FleetDocument", "fleet_document", "instances_by_state", "price_per_hour", "without_refusal"]

# A refusal as `fleet.ec2_refusals` writes it: the cloud's code, then the cloud's sentence.
_CODE = re.compile(r"\(([A-Z][A-Za-z]{3,60}(?:\.[A-Za-z]{3,60})?): ")
# The reason that `scaling.policy` gives for a launch that is delayed because the last one was refused.
_REFUSED = re.compile(r"(the cloud refused \d+ times) \((.*)\)(; next try in )", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ControllerDocument:
    """The controller that leads."""

    leader: Annotated[str, "Name of the controller that decided."]
    decided_at_s: Annotated[Time, "When it decided; the whole document is of that time."]
    age_s: Annotated[NotNegative, "Seconds since then."]
    is_stale: Annotated[bool, "Three records are overdue: no controller leads, or none can store its record."]


@dataclass(frozen=True, slots=True)
class InstanceStatesDocument:
    """How many instances are in each state; the fleet has no terminated ones."""

    pending: Annotated[Count, "Launched, and not yet ready to receive."] = 0
    in_service: Annotated[Count, "They receive messages."] = 0
    draining: Annotated[Count, "They finish what they have, and end."] = 0


@dataclass(frozen=True, slots=True)
class QueueDepthDocument:
    """The depth of the input queue, approximately."""

    backlog: Annotated[Count, "Visible messages."]
    in_flight: Annotated[Count, "Messages received and not yet acknowledged."]
    delayed: Annotated[Count, "Messages not yet visible."]


@dataclass(frozen=True, slots=True)
class DecisionDocument:
    """How many instances there should be, and why."""

    raw: Annotated[Count, "Instances that the policy alone wants."]
    launch: Annotated[Count, "Instances to launch at that time."]
    reason: Annotated[str, "The reason in words."]
    bounds: Annotated[tuple[Bound, ...], "Each bound from `raw` to `desired`, in order."]
    forecast: Annotated[Forecast, "What the policy expects."]


@dataclass(frozen=True, slots=True)
class InstanceDocument:
    """One instance of the fleet."""

    id: Annotated[str, "The fleet's name for the instance."]
    state: Annotated[InstanceState, "The state by its last heartbeat; pending before the first."]
    is_busy: Annotated[bool, "Whether it is in service and has a message, by its last heartbeat."]
    instance_type: Annotated[str, "The instance type; empty on one machine."]
    spot: Annotated[bool, "Whether the cloud may take it back."]
    price_per_hour: Annotated[NotNegative, "What it costs per hour; 0 if that is unknown."]
    launched_at_s: Annotated[Time, "When it was launched."]
    age_s: Annotated[NotNegative, "Seconds since then."]
    last_heartbeat_at_s: Annotated[Time | None, "When its last heartbeat came; null before the first."]


@dataclass(frozen=True, slots=True)
class EndedInstanceDocument:
    """An instance that was terminated, or whose startup failed."""

    at_s: Annotated[Time, "When it was terminated, or found to have failed."]
    id: Annotated[str, "The fleet's name for the instance."]
    cause: Annotated[str, "The cause in a word, for programs."]
    why: Annotated[str, "The cause in words."]


@dataclass(frozen=True, slots=True)
class RefusedLaunchDocument:
    """A launch that the cloud refused."""

    at_s: Annotated[Time, "When it was last refused."]
    why: Annotated[str, "The cloud's codes."]


@dataclass(frozen=True, slots=True)
class FleetDocument:
    """The fleet, as its controller last saw it."""

    controller: Annotated[
        ControllerDocument | None, "The controller that decided; null if none ever led."
    ] = None
    desired: Annotated[Count | None, "Instances wanted, after every bound."] = None
    alive: Annotated[
        Count | None, "Instances that count: all but draining ones, and those launched and not yet seen."
    ] = None
    states: Annotated[InstanceStatesDocument, "How many of `instances` are in each state."] = (
        InstanceStatesDocument()
    )
    busy: Annotated[Count, "How many of those in service have a message."] = 0
    price_per_hour: Annotated[NotNegative, "Sum over `instances`; an unknown price counts as 0."] = 0.0
    queue: Annotated[QueueDepthDocument | None, "The queue as the controller saw it."] = None
    decision: Annotated[DecisionDocument | None, "How many instances there should be, and why."] = None
    instances: Annotated[tuple[InstanceDocument, ...], "Every instance."] = ()
    launched_total: Annotated[Count, "Instances launched, by any leader."] = 0
    terminated_total: Annotated[
        Mapping[str, Count], "Instances that did not leave by themselves, by cause."
    ] = field(default_factory=dict)
    terminations: Annotated[
        tuple[EndedInstanceDocument, ...],
        "The last ten that did not leave by themselves, newest first.",
    ] = ()
    refusals: Annotated[
        tuple[RefusedLaunchDocument, ...], "The last ten launches that the cloud refused, newest first."
    ] = ()
    failed_startups_total: Annotated[
        Mapping[str, Count], "Instances that never served, by cause: `late`, `ended` or `unseen`."
    ] = field(default_factory=dict)
    failed_startups: Annotated[
        tuple[EndedInstanceDocument, ...], "The last ten instances that never served, newest first."
    ] = ()


def fleet_document(last: FleetSnapshot | None, now_s: float) -> FleetDocument:
    """Return the fleet as callers see it.

    Args:
        last: The last record; None if no controller ever led.
        now_s: The time from which ages are computed, seconds since the Unix epoch.
    """
    if last is None:
        return FleetDocument()
    record, decision = last.record, last.record.decision
    return FleetDocument(
        controller=ControllerDocument(
            record.leader, record.at_s, round(last.age_s(now_s), 3), last.is_stale(now_s)
        ),
        desired=decision.desired,
        alive=decision.alive,
        states=instances_by_state(last),
        busy=record.busy,
        price_per_hour=price_per_hour(last),
        queue=QueueDepthDocument(record.backlog, record.in_flight, record.delayed),
        decision=DecisionDocument(
            raw=decision.raw,
            launch=decision.launch,
            reason=without_refusal(decision.reason),
            bounds=tuple(replace(one, why=without_refusal(one.why)) for one in decision.bounds),
            forecast=decision.forecast,
        ),
        instances=tuple(_instance(one, now_s) for one in record.instances),
        launched_total=last.launched_total,
        terminated_total=last.terminated_total,
        terminations=tuple(_ended(one.at_s, one.termination) for one in last.terminations),
        refusals=tuple(RefusedLaunchDocument(one.at_s, _refusal_codes(one.why)) for one in last.refusals),
        failed_startups_total=last.failed_startups_total,
        failed_startups=tuple(_ended(one.at_s, one.startup) for one in last.failed_startups),
    )


def instances_by_state(last: FleetSnapshot) -> InstanceStatesDocument:
    """Return how many instances of the last record are in each state."""
    counted = Counter(one.state for one in last.record.instances)
    return InstanceStatesDocument(
        pending=counted[InstanceState.PENDING],
        in_service=counted[InstanceState.IN_SERVICE],
        draining=counted[InstanceState.DRAINING],
    )


def price_per_hour(last: FleetSnapshot) -> float:
    """Return what the instances of the last record cost per hour, in dollars."""
    return round(sum(one.price_per_hour for one in last.record.instances), 6)


def _instance(one: InstanceSeen, now_s: float) -> InstanceDocument:
    return InstanceDocument(
        id=one.id,
        state=one.state,
        is_busy=one.is_busy,
        instance_type=one.instance_type,
        spot=one.spot,
        price_per_hour=one.price_per_hour,
        launched_at_s=one.launched_at_s,
        age_s=round(age_s(now_s, one.launched_at_s), 3),
        last_heartbeat_at_s=one.last_heartbeat_at_s,
    )


def _ended(at_s: float, ended: Termination | FailedStartup) -> EndedInstanceDocument:
    return EndedInstanceDocument(at_s, ended.id, ended.cause, ended.why)


def _refusal_codes(why: str) -> str:
    """Return the cloud's codes of a refusal; its sentences name accounts, roles and parts of the network."""
    codes = ", ".join(dict.fromkeys(_CODE.findall(why)))
    return f"the cloud refused a launch: {codes}" if codes else "the cloud refused a launch"


def without_refusal(why: str) -> str:
    """Return a reason with the cloud's codes in place of its sentences."""
    return _REFUSED.sub(lambda match: f"{match[1]} ({_refusal_codes(match[2])}){match[3]}", why)
