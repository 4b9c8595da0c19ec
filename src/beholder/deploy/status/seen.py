"""The state of a deployment at one moment, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Cost", "DeploymentStatus", "QueueSeen", "StartFailure", "StartupSeen", "WebSeen", "WorkerSeen"]


@dataclass(frozen=True)
class WebSeen:
    """An instance of the web tier.

    Args:
        id: Its id.
        state: Where it is in its life, by its Auto Scaling group, such as 'InService'.
        health: By the balancer with its reason, if there is one; else by the group.
        instance_type: Such as 't3.small'.
        zone: Its Availability Zone.
        version: Of the launch template that it runs.
    """

    id: str
    state: str
    health: str
    instance_type: str
    zone: str
    version: str


@dataclass(frozen=True)
class QueueSeen:
    """A queue.

    Args:
        name: Its name.
        visible: Messages that wait.
        in_flight: Messages that were received and not deleted.
        delayed: Messages that are not visible yet.
        oldest_s: Age of the oldest message; None where CloudWatch knows none.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int
    oldest_s: float | None = None


@dataclass(frozen=True)
class WorkerSeen:
    """A worker's instance.

    Args:
        id: Its id.
        state: By EC2 while it starts and ends, such as 'pending'; while it runs, by its heartbeat, such as
            'in_service'.
        is_busy: Whether it holds a message.
        instance_type: Such as 'c7a.large'.
        spot: Whether EC2 may interrupt it.
        age_s: Seconds since its launch.
    """

    id: str
    state: str
    is_busy: bool
    instance_type: str
    spot: bool
    age_s: float


@dataclass(frozen=True)
class StartFailure:
    """An instance whose start failed.

    Args:
        id: Its id.
        at_s: When, seconds since the Unix epoch.
        reason: The step that failed, and why.
        tail: The last lines of its log, or of its console.
    """

    id: str
    at_s: float
    reason: str
    tail: Sequence[str]


@dataclass(frozen=True)
class StartupSeen:
    """A start that worked.

    Args:
        id: The instance's id.
        at_s: When it was ready, seconds since the Unix epoch.
        steps: Seconds since the launch at which each step was done, in order.
    """

    id: str
    at_s: float
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """What the deployment costs in dollars, without storage, requests and traffic.

    Args:
        workers_per_hour: Of those that are there now, by the prices of the settings.
        web_per_hour: Of the web tier, by the price table; None where it has no price of the type.
        workers_today: Since midnight UTC; None where the settings have no prices.
        web_today: Likewise.
        images: Images that were done since then.
        per_thousand: Of a thousand of them; None where there is none yet, or a price is unknown.
    """

    workers_per_hour: float
    web_per_hour: float | None
    workers_today: float | None
    web_today: float | None
    images: int
    per_thousand: float | None


@dataclass(frozen=True)
class DeploymentStatus:
    """All of it.

    Args:
        name: The deployment's name.
        region: Its region.
        at_s: When it was read, seconds since the Unix epoch.
        stack: The state of its stack, such as 'CREATE_COMPLETE'.
        cause: Why its last change failed; empty if it did not.
        url: Where the web tier answers; empty where only its private address is known.
        web: The instances of the web tier.
        queues: The input queue and the dead-letter queue.
        workers: The instances of the workers.
        controller: What is wrong with the controller; empty if it leads.
        decisions: The last decisions that changed something, as lines, oldest first.
        refusal: Why EC2 last refused a launch; empty if it did not today.
        failure: The last start that failed.
        startups: The last starts that worked, newest first.
        cost: What it costs.
        unread: Parts that could not be read, and why.
    """

    name: str
    region: str
    at_s: float
    stack: str
    cause: str = ""
    url: str = ""
    web: Sequence[WebSeen] = ()
    queues: Sequence[QueueSeen] = ()
    workers: Sequence[WorkerSeen] = ()
    controller: str = ""
    decisions: Sequence[str] = ()
    refusal: str = ""
    failure: StartFailure | None = None
    startups: Sequence[StartupSeen] = ()
    cost: Cost | None = None
    unread: Mapping[str, str] = field(default_factory=dict)
