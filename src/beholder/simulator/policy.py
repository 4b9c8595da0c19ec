"""The port between the simulated world and a scaling policy.

A policy gets a `WorldObservation` at each of its ticks and returns a `DesiredCapacity`. Its `ScalerTraits`
say what else its product does, such as which instances it stops and how its workers poll.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from beholder.draining.idle_limit import Seniority
from beholder.draining.protocol import DrainLimits
from beholder.scaling.policy.observation import InstanceState

__all__ = [
    "Actuator",
    "DesiredCapacity",
    "IdleFor",
    "InstanceView",
    "KillRule",
    "Policy",
    "ScalerTraits",
    "WorkerRule",
    "WorldLimits",
    "WorldObservation",
]


class KillRule(StrEnum):
    """How surplus instances are stopped, and what becomes of work in hand."""

    SELF = "self"
    """An instance leaves by itself when it was idle for long enough."""
    BLIND = "blind"
    """Pending instances first, then any at random; work in hand is lost and its message comes back."""
    GRACEFUL = "graceful"
    """As blind, but a busy instance finishes its work, for `grace_s` at most."""
    IDLE = "idle"
    """Idle instances alone; a busy instance is never chosen."""


@dataclass(frozen=True, slots=True)
class WorldLimits:
    """The bounds and guesses that every policy gets.

    Args:
        capacity_min: Instances that are always kept.
        capacity_max: Instances at most.
        startup_s: Mean time from launch to the first receive; a policy may take it as a first guess.
        service_s: Mean time of one job; a policy may take it as a first guess.
        latency_goal_s: Goal for a request's latency beyond a startup.
        price_per_hour: Of one instance.
    """

    capacity_min: int = 0
    capacity_max: int = 20
    startup_s: float = 200.0
    service_s: float = 0.5
    latency_goal_s: float = 30.0
    price_per_hour: float = 0.1


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance as the cloud and its heartbeats show it.

    Args:
        instance_id: Its number, in order of launch.
        launched_at_s: When it was launched.
        ready_at_s: When it first received; None while it is pending or if it never came up.
        state: The state of the instance.
        is_busy: Whether it has a job in hand.
    """

    instance_id: int
    launched_at_s: float
    ready_at_s: float | None
    state: InstanceState
    is_busy: bool


class Actuator(Protocol):
    """Carries out what a policy with `uses_actuator` decides, within its tick."""

    def launch(self, count: int) -> tuple[int, ...]:
        """Launch instances; returns the ids of those that the cloud launched, at most `count`."""
        ...

    def terminate(self, instance_ids: Sequence[int]) -> None:
        """End instances at once, whatever they do."""
        ...


@dataclass(frozen=True, slots=True)
class WorldObservation:
    """What a policy sees at a tick: the queue by its lagging counts, and the fleet as it is.

    Args:
        now_s: The virtual time.
        seen_at_s: When the queue's counts were true; earlier than `now_s` where they lag.
        visible: Messages that wait.
        in_flight: Messages received and neither acked nor visible again.
        sent: Messages sent since the start.
        done: Messages acked since the start.
        desired: The desired capacity.
        pending: Instances that start up, those included that never will and are not yet given up.
        in_service: Instances that receive.
        busy: Instances with a job in hand.
        service_s: How long a recent job took its worker; None before the first.
        instances: A view of each instance, for a policy with `uses_actuator`; else empty.
        actuator: Launches and terminates for such a policy; else None.
        unanswered: Messages sent and not answered, by the web processes' own counts.
    """

    now_s: float
    seen_at_s: float
    visible: int
    in_flight: int
    sent: int
    done: int
    desired: int
    pending: int
    in_service: int
    busy: int
    service_s: float | None = None
    instances: Sequence[InstanceView] = ()
    actuator: Actuator | None = None
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class DesiredCapacity:
    """How many instances a policy wants, and when it wants to be asked again.

    Args:
        desired: Instances it wants alive, pending ones included; None changes nothing.
        next_s: Seconds until its next tick.
    """

    desired: int | None
    next_s: float


class WorkerRule(Protocol):
    """Decides when an idle worker leaves; one object decides for all workers of a run."""

    def rests(self, instance_id: int, now_s: float, peers: Seniority) -> float:
        """Return how long a worker that falls idle now stays, in seconds; inf for ever."""
        ...

    def stays(self, instance_id: int, idle_for_s: float, peers: Seniority) -> float:
        """Return how much longer a worker stays that has been idle for so long; 0 lets it go."""
        ...

    def works(self, instance_id: int, now_s: float, sent_at_s: float) -> None:
        """Learn that an idle worker has a job again, which was sent at a time."""
        ...

    def leaves(self, instance_id: int) -> None:
        """Learn that a worker leaves for good."""
        ...


class IdleFor:
    """A rule by which a worker leaves after a fixed time without a job."""

    def __init__(self, idle_s_max: float) -> None:
        self._idle_s_max = idle_s_max

    def rests(self, instance_id: int, now_s: float, peers: Seniority) -> float:
        """Return how long a worker that falls idle now stays."""
        del instance_id, now_s, peers
        return self._idle_s_max

    def stays(self, instance_id: int, idle_for_s: float, peers: Seniority) -> float:
        """Return how much longer a worker stays that has been idle for so long."""
        del instance_id, peers
        return max(self._idle_s_max - idle_for_s, 0.0)

    def works(self, instance_id: int, now_s: float, sent_at_s: float) -> None:
        """Learn nothing."""

    def leaves(self, instance_id: int) -> None:
        """Learn nothing."""


@dataclass(frozen=True, slots=True)
class ScalerTraits:
    """What a policy's product does besides deciding.

    Args:
        kill: Which instances it stops, and how.
        has_own_counts: Whether it counts requests itself; otherwise it reads the queue's lagging numbers.
        grace_s: How long a graceful stop lets a busy instance go on.
        worker_rule: When an idle worker leaves by itself; None for never.
        drain: The times of the drain protocol; None where a worker leaves without a check of the queue.
        is_final_check_needed: Whether a worker of this seniority must check the queue before it leaves.
        leave_s: From the moment an instance leaves by itself to the end of its bill.
        poll_s: How long a worker's poll waits, where it naps between polls.
        nap_s: How long it naps after an empty poll.
        drains_on_notice: Whether a worker drains at a spot notice; if not, the interruption cuts it off.
        uses_actuator: Whether it launches and terminates instances within its tick, failed startups included.
        has_activator: Whether it ticks at once for a message that arrives while there is no instance.
    """

    kill: KillRule
    has_own_counts: bool = False
    grace_s: float = math.inf
    worker_rule: WorkerRule | None = None
    drain: DrainLimits | None = None
    is_final_check_needed: Callable[[Seniority], bool] = lambda _peers: True
    leave_s: float = 0.0
    poll_s: float = math.inf
    nap_s: float = 0.0
    drains_on_notice: bool = False
    uses_actuator: bool = False
    has_activator: bool = False


class Policy(Protocol):
    """A scaling policy and its memory; one object serves one run."""

    name: str
    traits: ScalerTraits

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        ...
