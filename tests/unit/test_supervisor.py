"""The supervisor: pauses before restarts, none after a healthy run, and a stop in order."""

import logging
import subprocess
from dataclasses import dataclass, field

import pytest

from beholder.clock import ManualClock
from beholder.fleet import ChildSpec, Supervisor
from beholder.fleet.supervisor import ChildRun, restart_pause_s


@dataclass
class FakeProcess:
    """A process that ends on SIGTERM, or ignores it until it is killed.

    Args:
        name: The child's name.
        pid: Its process id.
        clock: Moves while a test waits for the process.
        events: The record of everything that happens to it.
        drain_s: How long it takes to end after SIGTERM; None for never.
    """

    name: str
    pid: int
    clock: ManualClock
    events: list[str]
    drain_s: float | None = 0.0
    returncode: int | None = None
    ends_at_s: float | None = field(default=None)

    def poll(self) -> int | None:
        if self.returncode is None and self.ends_at_s is not None and self.clock.now_s() >= self.ends_at_s:
            self.end(0)
        return self.returncode

    def end(self, status: int) -> None:
        self.returncode = status
        self.events.append(f"{self.name} ended")

    def terminate(self) -> None:
        self.events.append(f"{self.name} asked")
        if self.drain_s is not None:
            self.ends_at_s = self.clock.now_s() + self.drain_s

    def kill(self) -> None:
        self.events.append(f"{self.name} killed")
        self.end(-9)

    def wait(self, timeout: float | None = None) -> int:
        left_s = 0.0 if self.ends_at_s is None else max(0.0, self.ends_at_s - self.clock.now_s())
        if self.returncode is None and timeout is not None and (self.ends_at_s is None or left_s > timeout):
            self.clock.advance(timeout)
            raise subprocess.TimeoutExpired(self.name, timeout)
        if self.returncode is None:
            self.clock.advance(left_s)
        status = self.poll()
        assert status is not None, "would wait for ever"
        return status


class Fleet:
    """Starts fake processes, and remembers them."""

    def __init__(self, **stages: int) -> None:
        self.clock = ManualClock()
        self.events: list[str] = []
        self.started: list[FakeProcess] = []
        self.drain_s: dict[str, float | None] = {}
        specs = [ChildSpec(name, (name,), {}, stage=stage) for name, stage in stages.items()]
        self.supervisor = Supervisor(specs, self.clock, self._start)  # type: ignore[arg-type]

    def _start(self, spec: ChildSpec) -> FakeProcess:
        self.events.append(f"{spec.name} started")
        process = FakeProcess(
            spec.name, 100 + len(self.started), self.clock, self.events, self.drain_s.get(spec.name, 0.0)
        )
        self.started.append(process)
        return process

    def pids(self) -> dict[str, int]:
        return {one.name: one.pid for one in self.started if one.returncode is None}

    def pause_after_death(self, lived_s: float) -> float:
        """Let the newest process die after `lived_s`; return how long its successor is waited for."""
        self.clock.advance(lived_s)
        self.started[-1].end(1)
        count, died_at_s = len(self.started), self.clock.now_s()
        delay_s = self.supervisor.tick()
        for _ in range(1000):
            if len(self.started) > count:
                return self.clock.now_s() - died_at_s
            self.clock.advance(delay_s)
            delay_s = self.supervisor.tick()
        raise AssertionError("never started again")


def test_the_first_pass_starts_every_child() -> None:
    fleet = Fleet(web=0, worker=1)
    assert fleet.pids() == {}
    delay_s = fleet.supervisor.tick()
    assert fleet.events == ["web started", "worker started"]
    assert fleet.pids() == {"web": 100, "worker": 101}
    assert delay_s > 0
    fleet.supervisor.tick()
    assert len(fleet.started) == 2


def test_pauses_grow_while_a_child_ends_soon_after_its_start() -> None:
    fleet = Fleet(web=0)
    fleet.supervisor.tick()
    pauses = [fleet.pause_after_death(1.0) for _ in range(7)]
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0], abs=0.21)


def test_a_healthy_run_is_followed_by_a_restart_at_once() -> None:
    fleet = Fleet(web=0)
    fleet.supervisor.tick()
    for _ in range(3):
        fleet.pause_after_death(1.0)
    assert fleet.pause_after_death(10.0) == 0.0
    # and the next early death begins with the first pause
    assert fleet.pause_after_death(1.0) == pytest.approx(0.5, abs=0.21)


def test_the_end_of_a_child_makes_a_pass_due_and_the_pass_tells_when_the_next_is() -> None:
    supervisor = Supervisor([ChildSpec("one", ("/bin/sh", "-c", "exit 3"), {})], ManualClock())
    supervisor.tick()
    assert supervisor.ended.wait(60)
    assert supervisor.tick() == 0.5  # the pause before the restart
    assert supervisor.runs() == [ChildRun("one", 1)]


def test_one_child_s_death_does_not_touch_another() -> None:
    fleet = Fleet(web=0, worker=1)
    fleet.supervisor.tick()
    fleet.started[0].end(-11)
    fleet.supervisor.tick()
    assert fleet.pids() == {"worker": 101}
    fleet.clock.advance(0.5)
    fleet.supervisor.tick()
    assert fleet.pids() == {"web": 102, "worker": 101}


@pytest.mark.parametrize(
    ("status", "said"), [(0, "exit 0"), (3, "exit 3"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-63, "signal 63")]
)
def test_the_log_says_how_a_child_ended(caplog: pytest.LogCaptureFixture, status: int, said: str) -> None:
    fleet = Fleet(web=0)
    fleet.supervisor.tick()
    fleet.clock.advance(2.0)
    fleet.started[0].end(status)
    fleet.supervisor.tick()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.action == "supervisor.restart"  # type: ignore[attr-defined]
    facts = record.facts  # type: ignore[attr-defined]
    assert (facts["child"], facts["pid"], facts["status"], facts["lived_s"]) == ("web", 100, said, 2.0)
    assert (facts["pause_s"], facts["restarts"]) == (0.5, 1)


def test_a_child_that_cannot_work_with_its_settings_is_named() -> None:
    fleet = Fleet(web=0, worker=1)
    fleet.supervisor.tick()
    fleet.started[0].end(1)
    fleet.supervisor.tick()
    assert fleet.supervisor.unfit is None
    fleet.started[1].end(2)
    fleet.supervisor.tick()
    assert fleet.supervisor.unfit == "worker"


def test_a_stop_ends_one_stage_before_it_asks_the_next() -> None:
    # given
    fleet = Fleet(worker_0=1, web=0, worker_1=1)
    fleet.drain_s = {"web": 3.0, "worker_0": 2.0, "worker_1": 1.0}
    fleet.supervisor.tick()
    fleet.events.clear()
    # when
    fleet.supervisor.stop(drain_s=5.0)
    # then: those of one stage are asked together
    assert fleet.events == [
        "web asked",
        "web ended",
        "worker_0 asked",
        "worker_1 asked",
        "worker_0 ended",
        "worker_1 ended",
    ]


def test_a_child_that_does_not_end_in_time_is_killed_and_the_time_is_the_stage_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # given
    fleet = Fleet(one=0, two=0, three=1)
    fleet.drain_s = {"one": None, "two": None, "three": 4.0}
    fleet.supervisor.tick()
    fleet.events.clear()
    began_s = fleet.clock.now_s()
    # when
    fleet.supervisor.stop(drain_s=5.0)
    # then: the second does not get five seconds of its own, the next stage does
    assert [event for event in fleet.events if "killed" in event] == ["one killed", "two killed"]
    assert fleet.events[-1] == "three ended"
    assert fleet.clock.now_s() - began_s == 9.0
    assert [record.action for record in caplog.records] == ["supervisor.kill"] * 2  # type: ignore[attr-defined]


def test_a_stop_without_time_still_asks_first() -> None:
    fleet = Fleet(web=0)
    fleet.drain_s = {"web": None}
    fleet.supervisor.tick()
    fleet.supervisor.stop(drain_s=0.0)
    assert fleet.events == ["web started", "web asked", "web killed", "web ended"]


def test_a_child_that_waits_for_its_restart_is_not_asked_to_end() -> None:
    fleet = Fleet(web=0, worker=1)
    fleet.supervisor.tick()
    fleet.started[0].end(1)
    fleet.supervisor.tick()
    fleet.events.clear()
    fleet.supervisor.stop(drain_s=1.0)
    assert fleet.events == ["worker asked", "worker ended"]


def test_a_stop_before_the_start_does_nothing() -> None:
    fleet = Fleet(web=0)
    fleet.supervisor.stop(drain_s=1.0)
    assert fleet.events == []


@pytest.mark.parametrize(
    ("previous_s", "lived_s", "pause_s"),
    [
        (0.0, 0.0, 0.5),
        (0.5, 9.9, 1.0),
        (8.0, 1.0, 10.0),
        (10.0, 1.0, 10.0),
        (10.0, 10.0, 0.0),
        (0.0, 99.0, 0.0),
    ],
)
def test_the_pause_is_a_pure_decision(previous_s: float, lived_s: float, pause_s: float) -> None:
    assert restart_pause_s(previous_s, lived_s) == pause_s
