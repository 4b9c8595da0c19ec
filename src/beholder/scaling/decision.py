"""What a tick concludes, and the record of it: what was seen, the raw need, each bound, the reason."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

from beholder.documents import Count, from_document, members_of, to_document
from beholder.scaling.observation import InstanceSeen, Observation

__all__ = ["RECORD_VERSION", "Bound", "Decision", "FailedStartup", "Forecast", "Record", "Termination"]

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that changed the number of instances."""

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
    messages: Annotated[
        float, "Messages until then: in the backlog, in flight, delayed and, in part, forecast."
    ]
    delivered: Annotated[float, "Messages that the present instances will have finished by then."]
    drained_s: Annotated[
        float | None, "Seconds until the queue is empty at the present rates; null where it grows."
    ]


@dataclass(frozen=True, slots=True)
class Termination:
    """An instance that the reaper ends.

    Args:
        id: Which.
        cause: 'boot', 'lifetime', 'silent' or 'hung'.
        why: In words.
    """

    id: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class FailedStartup:
    """An instance that was launched and never served.

    Args:
        id: Which.
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
        """In words."""
        instance_type = f", of type {self.instance_type}," if self.instance_type else ""
        return f"{self.id}{instance_type} {_FAILED_WORDS[self.cause]}, {self.age_s:.0f} s after its launch"


_FAILED_WORDS = {
    "late": "gave no heartbeat and is given up",
    "ended": "ended before it served",
    "unseen": "was launched and never seen",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """How many instances there should be, and why.

    Args:
        alive: Instances that count: pending, in service, and those launched but not yet seen.
        raw: What the policy alone wants.
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


@dataclass(frozen=True, slots=True)
class Record:
    """One tick: the 'why' log's line, the dashboard's source, the simulator's input.

    Args:
        at_s: When, seconds since the Unix epoch.
        leader: Name of the controller.
        backlog: Visible messages.
        in_flight: Received messages.
        delayed: Messages not yet visible.
        states: How many instances were in each state.
        busy: How many of those in service held a message.
        decision: What was concluded.
        launched: Ids that the fleet said it launched.
        refused: What the cloud said to launches it refused; empty where it refused none.
        terminated: What the reaper ended.
        failed_startups: Instances that were found not to have come up.
        failures: failed startups in a row.
        awaited_s: How long ago each instance was launched that is on its way, by id.
        instances: What was seen one by one. The decision log leaves them out; see `LatestRecord`.
    """

    at_s: float
    leader: str
    backlog: int
    in_flight: int
    delayed: int
    states: dict[str, int]
    busy: int
    decision: Decision
    launched: tuple[str, ...] = ()
    refused: str = ""
    terminated: tuple[Termination, ...] = ()
    failed_startups: tuple[FailedStartup, ...] = ()
    failures: int = 0
    awaited_s: dict[str, float] = field(default_factory=dict)
    version: int = field(default=RECORD_VERSION)
    instances: tuple[InstanceSeen, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, seen: Observation, decision: Decision, *, leader: str) -> Self:
        """Return the record of a decision before it is carried out; its times are times of day."""
        at_s = seen.now_s if seen.at_s is None else seen.at_s
        return cls(
            at_s=at_s,
            leader=leader,
            backlog=seen.backlog,
            in_flight=seen.in_flight,
            delayed=seen.delayed,
            states=dict(Counter(one.state.value for one in seen.instances)),
            busy=sum(one.is_busy for one in seen.instances),
            decision=decision,
            instances=tuple(one.moved(at_s - seen.now_s) for one in seen.instances),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, without the instances one by one."""
        document = to_document(self.without_instances())
        del document["instances"]
        return document

    def without_instances(self) -> Self:
        """Return it as it is kept for long: a thousand instances would make it a hundred times its size."""
        return replace(self, instances=()) if self.instances else self

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Return the record that `to_dict` wrote.

        Raises:
            ValueError: It is no record of this version.
        """
        try:
            if document["version"] != RECORD_VERSION:
                raise ValueError(f"a record of version {document['version']} cannot be read here")
            # Records of before `busy` lack it; what they had besides is ignored.
            known = {name: document[name] for name in _MEMBERS if name in document}
            return from_document(cls, {"busy": 0, **known})
        except (KeyError, TypeError) as exc:
            raise ValueError(f"this is no record: {exc}") from exc


_MEMBERS = tuple(one.name for one in members_of(Record))
