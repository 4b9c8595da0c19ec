"""The fleet inside one process, for unit tests."""

import itertools
import threading
from collections.abc import Sequence

from beholder.clock import Clock, SystemClock
from beholder.fleet.port import FleetInstance, Launch

__all__ = ["MemoryFleet"]

_SYSTEM_CLOCK = SystemClock()


class MemoryFleet:
    """Instances that are only names; see the `Fleet` port for its methods.

    Args:
        clock: Gives the time of each launch.

    Attributes:
        room: Instances at most; launches beyond it are refused.
    """

    def __init__(self, *, clock: Clock = _SYSTEM_CLOCK) -> None:
        self.room = 1000
        self._clock = clock
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._instances: dict[str, FleetInstance] = {}
        self._launches: dict[str, Launch] = {}

    def describe(self) -> list[FleetInstance]:
        """Return every instance; see `Fleet.describe`."""
        with self._lock:
            return list(self._instances.values())

    def launch(self, *, count: int, token: str) -> Launch:
        """Launch instances; see `Fleet.launch`."""
        with self._lock:
            if token in self._launches:
                return self._launches[token]
            room = max(0, min(count, self.room - len(self._instances)))
            fresh = [self._new() for _ in range(room)]
            refusals = ("no capacity is left",) if room < count else ()
            launch = Launch(tuple(instance.id for instance in fresh), refusals)
            self._launches[token] = launch
            self._instances |= {instance.id: instance for instance in fresh}
            return launch

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances; see `Fleet.terminate`."""
        for instance_id in ids:
            self.end(instance_id)

    def end(self, instance_id: str) -> None:
        """Remove an instance, as if it had exited by itself."""
        with self._lock:
            self._instances.pop(instance_id, None)

    def _new(self) -> FleetInstance:
        return FleetInstance(
            id=f"instance-{next(self._numbers)}",
            launched_at_s=self._clock.now_s(),
        )
