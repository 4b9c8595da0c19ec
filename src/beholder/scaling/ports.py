"""The ports of the controller; the simulator and the tests have adapters of their own."""

from typing import Protocol

from beholder.scaling.policy.observation import Observation
from beholder.scaling.records.record import Record

__all__ = ["Lease", "RecordSink", "Sensor"]


class Sensor(Protocol):
    """Observes the queue and the fleet."""

    def observe(self) -> Observation:
        """Return what there is now; raises `BackendError` if the queue or the fleet cannot be reached."""
        ...


class Lease(Protocol):
    """Says whether this controller leads."""

    def hold(self) -> bool:
        """Take or keep the lease where that is possible; returns whether this controller leads."""
        ...

    def is_held(self) -> bool:
        """Say whether this controller still leads, without a call."""
        ...


class RecordSink(Protocol):
    """Keeps the record of each tick."""

    def write(self, record: Record) -> None:
        """Keep a record; must not fail the tick, so it raises nothing of a backend's."""
        ...
