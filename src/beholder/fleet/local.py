"""The fleet of one machine: worker processes as instances, kept running by the supervisor.

An instance is a name, such as 'worker-0', and names are used again: a worker finds the in-flight journal of
its predecessor of the same name, and goes on with the messages in it. A process that ends with status 0 has
left. A process that crashes is restarted with the supervisor's pauses, and counts as pending meanwhile.
"""

import threading
from collections.abc import Callable, Sequence

from beholder.clock import Clock, SystemClock
from beholder.fleet.port import FleetInstance, Launch
from beholder.fleet.process import ChildSpec
from beholder.fleet.supervisor import Supervisor

__all__ = ["LocalFleet"]

_SYSTEM_CLOCK = SystemClock()
_TOKENS_MAX = 1000


class LocalFleet:
    """Processes of this machine; see the `Fleet` port for its methods.

    Args:
        supervisor: Starts and restarts the processes; its owner calls its `tick`.
        spec_of: Returns the specification of the process with a number, from 0 on.
        room: Processes at once, at most.
        clock: Gives the time of each launch.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        spec_of: Callable[[int], ChildSpec],
        *,
        room: int,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        self._supervisor = supervisor
        self._specs = [spec_of(number) for number in range(room)]
        self._names = {spec.name for spec in self._specs}
        self._clock = clock
        self._lock = threading.Lock()
        self._launches: dict[str, Launch] = {}
        self._begun: dict[tuple[str, int], float] = {}
        self._killed: set[str] = set()

    def describe(self) -> list[FleetInstance]:
        """Return every worker process; see `Fleet.describe`."""
        with self._lock:
            return self._describe()

    def launch(self, *, count: int, token: str) -> Launch:
        """Start processes; see `Fleet.launch`."""
        with self._lock:
            if token not in self._launches:
                while len(self._launches) >= _TOKENS_MAX:
                    del self._launches[next(iter(self._launches))]
                self._launches[token] = self._launch(count)
            return self._launches[token]

    def terminate(self, ids: Sequence[str]) -> None:
        """Kill processes; see `Fleet.terminate`."""
        with self._lock:
            for name in self._names.intersection(ids):
                self._supervisor.end(name)
                self._forget(name)
                self._killed.add(name)

    def _describe(self) -> list[FleetInstance]:
        now_s = self._clock.now_s()
        runs = [(run.name, run.number) for run in self._supervisor.runs() if run.name in self._names]
        # A process that is restarted after a crash has a launch time of its own.
        self._begun = {run: self._begun.get(run, now_s) for run in runs}
        return [FleetInstance(id=name, launched_at_s=at_s) for (name, _), at_s in self._begun.items()]

    def _launch(self, count: int) -> Launch:
        running = {instance.id for instance in self._describe()}
        free = [spec for spec in self._specs if spec.name not in running]
        # Names of killed processes first: their successors go on with the messages that they held.
        free.sort(key=lambda spec: spec.name not in self._killed)
        launched = []
        refusals = (f"there is room for {len(self._specs)} worker processes",) if count > len(free) else ()
        for spec in free[:count]:
            begun_s = self._clock.now_s()
            try:
                self._supervisor.add(spec)
            except (OSError, ValueError) as exc:
                refusals = (*refusals, f"no process could be started: {exc}")
                break
            self._forget(spec.name)
            self._begun[spec.name, 0] = begun_s
            self._killed.discard(spec.name)
            launched.append(spec.name)
        return Launch(tuple(launched), refusals)

    def _forget(self, name: str) -> None:
        self._begun = {run: at_s for run, at_s in self._begun.items() if run[0] != name}
