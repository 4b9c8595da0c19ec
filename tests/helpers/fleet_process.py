"""A small fleet of real processes: a controller with its lease, and workers that only give heartbeats.

As a program, `fleet_process.py leader <folder> <name>` runs such a controller until it is killed, and
`fleet_process.py worker <folder> <name> <fd>` is one of its workers. A worker whose folder has a file
`broken` ends at once with status 1.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from beholder.clock import MonotonicClock, SystemClock
from beholder.fleet import ChildSpec, Fleet, LocalFleet, ParentDeathPipe, Supervisor, follow_parent
from beholder.queue import MemoryQueue
from beholder.scaling import InstanceState, Limits
from beholder.scaling.controller import Controller, ControllerPorts
from beholder.scaling.heartbeats import write_heartbeat
from beholder.scaling.lease import StoreLease
from beholder.scaling.records.snapshot import LatestRecord, read_last
from beholder.scaling.sensor import FleetSensor
from beholder.store.folder import FolderStore

TICK_S = 0.1
WAIT_S = 60.0
# Long enough that a busy machine does not make a leader lose its lease.
LEASE_S = 2.0
ROOM = 2
BROKEN = "broken"
LIMITS = Limits(max=ROOM, tick_s=TICK_S, startup_s=1.0, latency_goal_s=1.0, backoff_s=0.2, backoff_s_max=1.0)


@dataclass
class RunningFleet:
    """A controller that ticks when asked, and the processes that it launched."""

    controller: Controller
    supervisor: Supervisor

    def tick(self) -> None:
        """Do one pass, and wait for the next one's time."""
        self.supervisor.tick()
        self.controller.tick()
        time.sleep(TICK_S)

    @property
    def in_service(self) -> int:
        """Return how many workers are in service by the controller's last record."""
        last = self.controller.last
        return 0 if last is None else last.states.get("in_service", 0)


@contextmanager
def running_fleet(
    folder: Path, name: str, *, wrapped: Callable[[LocalFleet], Fleet] = lambda fleet: fleet
) -> Iterator[RunningFleet]:
    """Open a controller and its fleet; 40 messages wait all the time."""
    clock, store = SystemClock(), FolderStore(folder / "bucket")
    queue = MemoryQueue(clock=clock)
    queue.send([b"image"] * 40)
    with ParentDeathPipe() as pipe:

        def spec_of(number: int) -> ChildSpec:
            worker = f"{name}-{number}"
            line = (sys.executable, "-P", __file__, "worker", str(folder), worker, str(pipe.read_fd))
            return ChildSpec(worker, line, dict(os.environ), (pipe.read_fd,), may_leave=True)

        supervisor = Supervisor([], MonotonicClock())
        fleet = wrapped(LocalFleet(supervisor, spec_of, room=ROOM))
        numbers = itertools.count()
        ports = ControllerPorts(
            FleetSensor(queue, fleet, store, clock, startup_s=LIMITS.startup_s),
            fleet,
            StoreLease(store, name, MonotonicClock(), period_s=LEASE_S),
            LatestRecord(store),
            lambda: f"{name}-{next(numbers)}",
            lambda: None if (last := read_last(store)) is None else last.record,
        )
        try:
            yield RunningFleet(Controller(ports, LIMITS, name=name), supervisor)
        finally:
            supervisor.stop(drain_s=WAIT_S)


def lead(folder: Path, name: str) -> None:
    """Run a controller until this process is killed."""
    with running_fleet(folder, name) as fleet:
        while True:
            fleet.tick()


def work(folder: Path, name: str, fd: int) -> None:
    """Give heartbeats until the parent is gone, and a line in `starts` for this start."""
    follow_parent(fd)
    with (folder / "starts").open("a") as starts:
        starts.write(f"{name}\n")
    if (folder / BROKEN).exists():
        sys.exit(1)
    store = FolderStore(folder / "bucket")
    while True:
        write_heartbeat(store, name, InstanceState.IN_SERVICE, is_busy=True)
        time.sleep(1.0)


if __name__ == "__main__":
    role, where, who, *rest = sys.argv[1:]
    lead(Path(where), who) if role == "leader" else work(Path(where), who, int(rest[0]))
