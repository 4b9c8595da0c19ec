"""What the controller observes at one moment; a decision depends on it, the state and the limits alone.

Source: GetQueueAttributes gives approximate depths that lag by up to a minute (SQS developer guide, 2024);
DescribeInstances gives launch time, type and lifecycle of what carries our tag; one LIST of the heartbeats
gives each instance's state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

__all__ = ["InstanceSeen", "InstanceState", "Observation", "ServiceSeen"]


class InstanceState(StrEnum):
    """The states of an instance, in production and in the simulator."""

    PENDING = "pending"
    """Launched, and not yet ready to receive."""
    IN_SERVICE = "in_service"
    """Receives messages."""
    DRAINING = "draining"
    """Finishes what it holds, receives no more, and ends."""
    TERMINATED = "terminated"
    """Has ended. No observation contains such an instance."""


@dataclass(frozen=True, slots=True)
class InstanceSeen:
    """One instance of the fleet.

    Args:
        id: The fleet's name for the instance.
        state: Pending until its first heartbeat.
        launched_at_s: When it was launched, seconds since the Unix epoch.
        ready_at_s: When it was first ready to receive; None where that was not seen.
        last_heartbeat_at_s: Its last heartbeat; None before the first.
        instance_type: The instance type, such as 'c7a.large'.
        spot: Whether the cloud may interrupt it.
        price_per_hour: Its price; 0 where that is unknown.
        is_busy: Whether it is in service and holds a message, by its last heartbeat.
    """

    id: str
    state: InstanceState
    launched_at_s: float
    ready_at_s: float | None = None
    last_heartbeat_at_s: float | None = None
    instance_type: str = ""
    spot: bool = False
    price_per_hour: float = 0.0
    is_busy: bool = False

    def moved(self, by_s: float) -> Self:
        """Return the instance with its times moved, as to another clock."""
        if by_s == 0.0:
            return self
        return replace(
            self,
            launched_at_s=self.launched_at_s + by_s,
            ready_at_s=None if self.ready_at_s is None else self.ready_at_s + by_s,
            last_heartbeat_at_s=None if self.last_heartbeat_at_s is None else self.last_heartbeat_at_s + by_s,
        )


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """How long one message kept an instance of some type busy, from a reply.

    Args:
        instance_type: The instance type.
        service_s: Time of the instance per message: the time of a batch divided by its size.
    """

    instance_type: str
    service_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """The queue and the fleet as they were seen.

    All times but `at_s` are by one clock, which no step moves; see `scaling.ages`.

    Args:
        now_s: The moment.
        backlog: Visible messages, approximate.
        in_flight: Received and not acknowledged, approximate.
        delayed: Not yet visible, approximate.
        instances: Every instance of the deployment that is not terminated.
        unanswered: How many more messages are sent and not answered than at the last observation, by what
            the web processes told since; below 0 where more was answered than sent.
        services: A sample of service times since the last observation; a few dozen are enough.
        last_heartbeats: The last heartbeat of instances that are gone, by id.
        at_s: The time of day, seconds since the Unix epoch; None where it is `now_s`.
    """

    now_s: float
    backlog: int
    in_flight: int = 0
    delayed: int = 0
    unanswered: int = 0
    instances: tuple[InstanceSeen, ...] = ()
    services: tuple[ServiceSeen, ...] = ()
    last_heartbeats: Mapping[str, float] = field(default_factory=dict)
    at_s: float | None = None
