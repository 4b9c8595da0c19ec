"""Worker processes as instances: exits, crashes, and names that are used again."""

from dataclasses import dataclass

import pytest

from beholder.clock import ManualClock
from beholder.fleet import ChildSpec, Launch, LocalFleet, Supervisor


@dataclass
class FakeProcess:
    """A process that ends on SIGTERM."""

    name: str
    returncode: int | None = None
    pid: int = 1

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.returncode = -9

    def terminate(self) -> None:
        self.returncode = 0

    def wait(self, timeout: float | None = None) -> int:
        del timeout
        assert self.returncode is not None, "would wait for ever"
        return self.returncode


class Machine:
    """A supervisor and a fleet of up to three workers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.started: list[FakeProcess] = []
        self.is_full = False
        self.supervisor = Supervisor([], self.clock, self._start)  # type: ignore[arg-type]
        self.fleet = LocalFleet(self.supervisor, self._spec, room=3, clock=self.clock)

    def _spec(self, number: int) -> ChildSpec:
        return ChildSpec(f"worker-{number}", ("worker",), {}, stage=1, may_leave=True)

    def _start(self, spec: ChildSpec) -> FakeProcess:
        if self.is_full:
            raise BlockingIOError("no more processes")
        self.started.append(FakeProcess(spec.name))
        return self.started[-1]

    def launch(self, count: int, token: str) -> Launch:
        return self.fleet.launch(count=count, token=token)

    def ids(self) -> list[str]:
        return [one.id for one in self.fleet.describe()]

    def end(self, name: str, status: int) -> None:
        """Let the newest process of a name end."""
        next(one for one in reversed(self.started) if one.name == name).returncode = status


def test_the_lowest_free_names_are_taken() -> None:
    machine = Machine()
    assert machine.launch(2, "a").ids == ("worker-0", "worker-1")
    machine.end("worker-0", 0)
    assert machine.launch(1, "b").ids == ("worker-0",)


def test_a_worker_that_left_is_gone_at_once_and_is_not_started_again() -> None:
    # given
    machine = Machine()
    machine.launch(2, "a")
    # when
    machine.end("worker-1", 0)
    # then
    assert machine.ids() == ["worker-0"]
    for _ in range(5):
        machine.clock.advance(10)
        machine.supervisor.tick()
    assert len(machine.started) == 2
    assert machine.ids() == ["worker-0"]


def test_the_log_says_that_a_worker_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    machine = Machine()
    machine.launch(1, "a")
    machine.end("worker-0", 0)
    machine.supervisor.tick()
    assert [record.action for record in caplog.records] == ["supervisor.left"]  # type: ignore[attr-defined]


def test_a_worker_that_crashed_stays_an_instance_and_starts_again_in_its_place() -> None:
    # given
    machine = Machine()
    machine.launch(1, "a")
    (before,) = machine.fleet.describe()
    # when
    machine.clock.advance(20)
    machine.end("worker-0", -9)
    machine.supervisor.tick()
    machine.supervisor.tick()
    # then
    (after,) = machine.fleet.describe()
    assert after.id == before.id
    assert after.launched_at_s == before.launched_at_s + 20
    assert [one.name for one in machine.started] == ["worker-0", "worker-0"]


def test_a_worker_that_waits_for_its_restart_is_counted() -> None:
    machine = Machine()
    machine.launch(1, "a")
    machine.end("worker-0", 1)
    machine.supervisor.tick()
    assert [one.poll() for one in machine.started] == [1]
    assert machine.ids() == ["worker-0"]


def test_a_terminated_worker_is_not_started_again_and_its_name_is_the_next() -> None:
    # given
    machine = Machine()
    machine.launch(3, "a")
    # when
    machine.fleet.terminate(["worker-0", "worker-2"])
    machine.end("worker-1", 0)
    machine.clock.advance(60)
    machine.supervisor.tick()
    # then: the names of those that were killed come first, since what they held waits for a successor
    assert machine.ids() == []
    assert machine.launch(3, "b").ids == ("worker-0", "worker-2", "worker-1")


def test_beyond_the_room_or_without_processes_a_launch_is_refused_with_a_reason() -> None:
    machine = Machine()
    launch = machine.launch(4, "a")
    assert len(launch.ids) == 3
    assert launch.refusals == ("there is room for 3 worker processes",)
    other = Machine()
    other.is_full = True
    launch = other.launch(2, "a")
    assert launch.ids == ()
    assert "no more processes" in launch.refusals[0]
    assert other.ids() == []


def test_after_a_stop_nothing_is_launched() -> None:
    machine = Machine()
    machine.launch(1, "a")
    machine.supervisor.stop(drain_s=1.0)
    launch = machine.launch(1, "b")
    assert launch.ids == ()
    assert len(launch.refusals) == 1
    machine.supervisor.tick()
    assert len(machine.started) == 1


def test_other_processes_are_no_instances() -> None:
    clock = ManualClock()
    started: list[FakeProcess] = []

    def start(spec: ChildSpec) -> FakeProcess:
        started.append(FakeProcess(spec.name))
        return started[-1]

    supervisor = Supervisor([ChildSpec("web-0", ("web",), {})], clock, start)  # type: ignore[arg-type]
    fleet = LocalFleet(supervisor, lambda number: ChildSpec(f"w-{number}", ("w",), {}), room=1, clock=clock)
    supervisor.tick()
    fleet.terminate(["web-0"])
    assert fleet.describe() == []
    assert [(one.name, one.poll()) for one in started] == [("web-0", None)]
    # and it is started again whatever it ended with
    started[0].returncode = 0
    clock.advance(20)
    supervisor.tick()
    clock.advance(20)
    supervisor.tick()
    assert len(started) == 2
