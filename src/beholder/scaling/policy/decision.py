"""The result of a tick: the raw need, each bound, the reason, and the instances that the reaper ends."""

from dataclasses import dataclass
from typing import Annotated

from beholder.documents import Count

__all__ = ["FAILED_STARTUP_CAUSES", "Bound", "Decision", "FailedStartup", "Forecast", "Termination"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound that changed the number of instances."""

    name: Annotated[str, "'warm', 'min', 'max', 'draining', 'budget', 'refusal' or 'circuit'."]
    before: Annotated[Count, "Instances before the bound was applied."]
    after: Annotated[Count, "Instances after it was applied."]
    why: Annotated[str, "The bound in words."]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the policy expects."""

    arrivals_per_s: Annotated[float, "Messages per second, as learnt."]
    service_s: Annotated[float, "Instance seconds per message on the instance type that would be launched."]
    startup_s: Annotated[float, "Median startup time; half take longer."]
    startup_s_p95: Annotated[float, "The startup time that nineteen startups in twenty do not exceed."]
    horizon_s: Annotated[float, "How far the policy looks ahead, in seconds: a startup and the goal."]
    messages: Annotated[float, "Messages that are there now: in the backlog, in flight and delayed."]
    delivered: Annotated[float, "Messages that the present instances will have finished by then."]
    drained_s: Annotated[
        float | None, "Seconds until the queue is empty at the present rates; null where it grows."
    ]


@dataclass(frozen=True, slots=True)
class Termination:
    """An instance that the reaper ends, or that ended unexpectedly.

    Args:
        id: The instance.
        cause: 'startup', 'lifetime', 'silent' or 'hung'; 'crashed' if nobody ended it.
        why: The cause in words.
    """

    id: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class FailedStartup:
    """An instance that was launched and never served.

    Args:
        id: The instance.
        cause: 'late' where no heartbeat came in time, 'ended' where it ended before its first one,
            'unseen' where the fleet never showed it.
        age_s: How long ago it was launched when it was given up.
        instance_type: Its type; empty where that is unknown.
    """

    id: str
    cause: str
    age_s: float
    instance_type: str = ""

    @property
    def why(self) -> str:
        """The failure in words."""
        instance_type = f", of type {self.instance_type}," if self.instance_type else ""
        cause = FAILED_STARTUP_CAUSES[self.cause]
        return f"{self.id}{instance_type} {cause}, {self.age_s:.0f} s after its launch"


FAILED_STARTUP_CAUSES = {
    "late": "gave no heartbeat and is given up",
    "ended": "ended before it served",
    "unseen": "was launched and never seen",
}
"""The causes of failed startups, in words that follow the instance."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many instances there should be, and why.

    Args:
        alive: Instances that count: pending, in service, and launched but not yet seen.
        raw: The need before any bound.
        desired: After every bound.
        launch: How many to launch now; `desired - alive`, never below 0.
        bounds: Each bound that changed the number, in order.
        reason: In words, one or two sentences.
        forecast: What the policy expects.
    """

    alive: int
    raw: int
    desired: int
    launch: int
    bounds: tuple[Bound, ...]
    reason: str
    forecast: Forecast
