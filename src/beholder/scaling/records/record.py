"""The record of one tick: the observation, the decision and its result."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Self

from beholder.documents import from_document, members_of, to_document
from beholder.scaling.policy.decision import Decision, FailedStartup, Termination
from beholder.scaling.policy.learnt import Learnt
from beholder.scaling.policy.observation import InstanceSeen, Observation

__all__ = ["RECORD_VERSION", "Record"]

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One tick: a line of the decision log, and the source of the dashboard.

    Args:
        at_s: When the tick was, seconds since the Unix epoch.
        leader: Name of the controller.
        backlog: Visible messages.
        in_flight: Received messages.
        delayed: Messages not yet visible.
        states: How many instances were in each state.
        busy: How many of those in service held a message.
        decision: The decision.
        launched: Ids of the launched instances.
        refused: Why the cloud refused launches; empty if it refused none.
        terminated: The instances that the reaper terminated, or that ended unexpectedly.
        failed_startups: Failed startups that this tick found.
        failures: Failed startups in a row.
        awaited_s: How long ago each instance was launched that is on its way, by id.
        learnt: What the leader has learnt. The decision log leaves it out, as it does the instances.
        instances: Each instance as it was observed. The decision log leaves them out; see `LatestRecord`.
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
    learnt: Learnt | None = field(default=None, compare=False, repr=False)
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
        """Return the record as JSON, without its instances and what was learnt."""
        document = to_document(self.without_instances())
        del document["instances"], document["learnt"]
        return document

    def without_instances(self) -> Self:
        """Return the record as the decision log has it: a thousand instances are a hundred times its size."""
        return replace(self, instances=(), learnt=None) if self.instances or self.learnt else self

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Return the record that `to_dict` wrote.

        Raises:
            ValueError: It is no record of this version.
        """
        try:
            if document["version"] != RECORD_VERSION:
                raise ValueError(f"a record of version {document['version']} cannot be read here")
            # Older records lack `busy`; fields that only they have are ignored.
            known = {name: document[name] for name in _MEMBERS if name in document}
            return from_document(cls, {"busy": 0, **known})
        except (KeyError, TypeError) as exc:
            raise ValueError(f"this is no record: {exc}") from exc


_MEMBERS = tuple(one.name for one in members_of(Record))
