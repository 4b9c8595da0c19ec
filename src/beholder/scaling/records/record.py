"""The record of one tick: what was seen, what was decided, and what became of it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Self

from beholder.documents import from_document, members_of, to_document
from beholder.scaling.policy.decision import Decision, FailedStartup, Termination
from beholder.scaling.policy.observation import InstanceSeen, Observation

__all__ = ["RECORD_VERSION", "Record"]

RECORD_VERSION = 1


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
