"""A worker goes when it has been idle, the queue is empty and everybody knows; an instance ends itself."""

import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from beholder.clock import ManualClock, MonotonicClock
from beholder.draining.exit import InstanceExit
from beholder.draining.protocol import (
    Announced,
    DrainLimits,
    DrainProtocol,
    DrainState,
    FinalPoll,
    Verdict,
    idle_for,
    verdict_on,
)
from beholder.errors import BackendUnavailable
from beholder.fleet.process import ChildSpec, start_child
from beholder.queue.port import Depth

IDLE_S = 100.0
LIMITS = DrainLimits(lag_s=12.0, look_again_s=5.0, retry_s=15.0, in_flight_s_max=60.0)
EMPTY = Depth(0, 0, 0)


class Scene:
    """A worker, its queue and its controller, as the protocol sees them."""

    def __init__(self, idle_s_max: float | None = IDLE_S) -> None:
        self.clock = ManualClock()
        self.depth = EMPTY
        self.events: list[str] = []
        self.broken: set[str] = set()
        self.is_paused = False
        self.is_empty = True
        self.is_young = False
        self.has_elders = True
        self.idle_since_s: float | None = self.clock.now_s()
        self.final_poll: FinalPoll | None = None
        self.protocol = DrainProtocol(
            self,
            lambda idle_s: replace(idle_for(idle_s_max)(idle_s), needs_look=not self.is_young),
            depth=self.look,
            announce=self.announce,
            leave=self.leave,
            clock=self.clock,
            limits=LIMITS,
            is_last_look_needed=self.look_for_others,
        )

    # --- the worker ---

    def pause(self) -> None:
        self.is_paused = True
        self.events.append("pause")

    def resume(self) -> None:
        self.is_paused = False
        self.events.append("resume")

    def drain(self) -> None:
        self.events.append("drain")

    @property
    def is_paused_and_empty(self) -> bool:
        return self.is_paused and self.is_empty

    # --- the others ---

    def _do(self, what: str) -> None:
        if what in self.broken:
            raise BackendUnavailable("queue", what, "away")
        self.events.append(what)

    def look(self) -> Depth:
        self._do("look")
        return self.depth

    def look_for_others(self) -> bool:
        self._do("others")
        return not self.has_elders

    def announce(self, state: Announced) -> None:
        self._do(state)

    def leave(self) -> None:
        self._do("leave")

    # --- time ---

    def run(self, seconds: float) -> None:
        """Tick as the runner does, until the time is over or the worker has left."""
        until_s = self.clock.now_s() + seconds
        while self.clock.now_s() < until_s and self.protocol.state is not DrainState.LEFT:
            self.clock.advance(max(self.protocol.tick(), 0.1))

    def run_until(self, state: DrainState) -> None:
        for _ in range(1000):
            if self.protocol.state is state:
                return
            self.clock.advance(max(self.protocol.tick(), 0.1))
        pytest.fail(f"never {state}")


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- decisions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle_s_max", [0, 0.0, None])
def test_without_a_limit_a_worker_stays_for_ever(idle_s_max: float | None) -> None:
    assert idle_for(idle_s_max)(1e9) == Verdict(leaves=False, reason="workers stay")


def test_a_worker_goes_when_it_was_idle_for_long_enough() -> None:
    rule = idle_for(60.0)
    assert not rule(59.9).leaves
    assert rule(60.0) == Verdict(leaves=True, reason="idle for 60 s of 60 s")


@pytest.mark.parametrize(
    ("depth", "put_off_s", "leaves"),
    [
        (EMPTY, 0.0, True),
        (Depth(1, 0, 0), 0.0, False),
        (Depth(1, 0, 0), 1e9, False),
        (Depth(0, 0, 1), 1e9, False),
        (Depth(0, 1, 0), 0.0, False),
        (Depth(0, 1, 0), 59.9, False),
        (Depth(0, 1, 0), 60.0, True),
        (Depth(1, 1, 0), 60.0, False),
    ],
)
def test_one_message_is_enough_to_stay(depth: Depth, put_off_s: float, leaves: bool) -> None:  # noqa: FBT001
    assert verdict_on(depth, put_off_s=put_off_s, in_flight_s_max=60.0).leaves is leaves


# --- the protocol -------------------------------------------------------------------------------------------


def test_it_announces_then_stops_then_looks_and_goes_at_the_last_look(scene: Scene) -> None:
    # when
    scene.run(500)
    # then: looks at 0, 5, 10 and 12 s after it was empty
    assert scene.events == ["in_service", "draining", "pause", "look", "look", "look", "look", "leave"]
    assert scene.protocol.state is DrainState.LEFT
    # and: nothing follows
    scene.protocol.tick()
    assert scene.events[-1] == "leave"


def test_after_a_last_poll_that_brought_nothing_one_look_is_enough(scene: Scene) -> None:
    scene.final_poll = FinalPoll.EMPTY
    scene.run(IDLE_S + 2)
    assert scene.events == ["in_service", "draining", "pause", "look", "leave"]


def test_what_the_last_poll_brought_is_served(scene: Scene) -> None:
    scene.final_poll = FinalPoll.FOUND
    scene.run(IDLE_S + 2)
    assert scene.events == ["in_service", "draining", "pause", "resume", "in_service"]


def test_a_younger_one_goes_without_a_look_once_it_saw_an_older_one_after_its_announcement(
    scene: Scene,
) -> None:
    # given
    scene.is_young, scene.depth = True, Depth(5, 5, 0)
    # when
    scene.run(IDLE_S + 1)
    # then
    assert scene.events == ["in_service", "draining", "pause", "others", "leave"]


def test_a_younger_one_whose_elders_have_gone_looks_itself(scene: Scene) -> None:
    # given
    scene.is_young, scene.has_elders, scene.depth = True, False, Depth(1, 0, 0)
    # when
    scene.run(IDLE_S + 1)
    # then
    assert scene.events[1:6] == ["draining", "pause", "others", "look", "resume"]


def test_a_younger_one_that_cannot_look_for_others_serves_on(scene: Scene) -> None:
    # given
    scene.is_young, scene.broken = True, {"others"}
    # when
    with pytest.raises(BackendUnavailable):
        scene.run(IDLE_S + 1)
    # then
    assert scene.events[-1] == "resume"
    assert scene.protocol.state is DrainState.SERVING


def test_it_stays_for_as_long_as_its_rule_says(scene: Scene) -> None:
    scene.run(IDLE_S - 1)
    assert scene.events == ["in_service"]


def test_a_busy_worker_stays(scene: Scene) -> None:
    scene.idle_since_s = None
    scene.run(1000)
    assert scene.events == ["in_service"]


def test_it_does_not_look_while_a_receive_is_under_way(scene: Scene) -> None:
    # given
    scene.is_empty = False
    # when
    scene.run(200)
    # then
    assert scene.protocol.state is DrainState.ANNOUNCED
    assert scene.events == ["in_service", "draining", "pause"]
    # and when
    scene.is_empty = True
    scene.run_until(DrainState.LEFT)
    assert scene.events[-1] == "leave"


@pytest.mark.parametrize("depth", [Depth(1, 0, 0), Depth(0, 1, 0), Depth(0, 0, 1)])
def test_with_work_in_sight_it_serves_before_it_says_so(scene: Scene, depth: Depth) -> None:
    # given
    scene.depth = depth
    # when
    scene.run_until(DrainState.CHECKING)
    scene.run_until(DrainState.SERVING)
    scene.protocol.tick()
    # then
    assert scene.events == ["in_service", "draining", "pause", "look", "resume", "in_service"]


def test_work_that_comes_into_sight_late_is_seen(scene: Scene) -> None:
    # given: the counts lag
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.clock.advance(LIMITS.lag_s)
    scene.depth = Depth(1, 0, 0)
    # when
    scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.SERVING
    assert not scene.is_paused


def test_between_attempts_it_serves_for_a_while(scene: Scene) -> None:
    # given
    scene.depth = Depth(1, 0, 0)
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.depth = EMPTY
    # when
    scene.run(LIMITS.retry_s - 1)
    # then
    assert scene.protocol.state is DrainState.SERVING
    # and when
    scene.run(2)
    assert scene.protocol.state is DrainState.CHECKING


def test_messages_that_others_hold_put_it_off_but_not_for_ever(scene: Scene) -> None:
    # given
    scene.depth = Depth(0, 3, 0)
    # when
    scene.run_until(DrainState.LEFT)
    # then
    assert scene.events.count("resume") == 4
    idle_s = scene.clock.now_s() - (scene.idle_since_s or 0)
    assert IDLE_S + LIMITS.in_flight_s_max <= idle_s < IDLE_S + LIMITS.in_flight_s_max + 2 * LIMITS.retry_s


def test_work_of_its_own_begins_the_patience_anew(scene: Scene) -> None:
    # given: it was put off for nearly as long as can be
    scene.depth = Depth(0, 3, 0)
    scene.run(IDLE_S + LIMITS.in_flight_s_max - 1)
    assert scene.protocol.state is DrainState.SERVING
    # when: it had a message meanwhile
    scene.idle_since_s = scene.clock.now_s() - 0.5
    scene.run(IDLE_S + LIMITS.in_flight_s_max - 1)
    # then
    assert "leave" not in scene.events


def test_a_queue_that_cannot_be_looked_at_keeps_it_in_service(scene: Scene) -> None:
    # given
    scene.broken = {"look"}
    scene.run_until(DrainState.CHECKING)
    # when
    with pytest.raises(BackendUnavailable):
        scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.SERVING
    assert not scene.is_paused
    # and when
    scene.broken = set()
    scene.run_until(DrainState.LEFT)
    assert scene.events[-1] == "leave"


def test_what_cannot_be_announced_is_not_done(scene: Scene) -> None:
    # given
    scene.run(IDLE_S - 1)
    scene.broken = {"draining"}
    # when
    scene.clock.advance(2)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            scene.protocol.tick()
    # then
    assert not scene.is_paused
    # and when
    scene.broken = set()
    scene.protocol.tick()
    assert scene.events == ["in_service", "draining", "pause"]


def test_a_leave_that_failed_is_tried_again(scene: Scene) -> None:
    # given
    scene.broken = {"leave"}
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.clock.advance(LIMITS.lag_s)
    with pytest.raises(BackendUnavailable):
        scene.protocol.tick()
    # when
    scene.broken = set()
    scene.protocol.tick()
    # then
    assert scene.events[-1] == "leave"
    assert scene.protocol.state is DrainState.LEFT


# --- interruptions ------------------------------------------------------------------------------------------


def test_an_interruption_hands_back_at_once_and_goes_without_a_look(scene: Scene) -> None:
    # given: a busy worker
    scene.idle_since_s, scene.is_empty = None, False
    scene.protocol.tick()
    # when
    scene.protocol.interrupted()
    # then
    assert scene.events == ["in_service", "pause", "drain"]
    # and when
    scene.run(1)
    assert scene.protocol.state is DrainState.SERVING
    scene.is_empty = True
    scene.run_until(DrainState.LEFT)
    # then
    assert "draining" in scene.events
    assert "look" not in scene.events
    assert scene.events.count("leave") == 1


def test_an_interruption_goes_before_the_looks(scene: Scene) -> None:
    # given
    scene.run_until(DrainState.CHECKING)
    scene.depth = Depth(5, 5, 5)
    # when
    scene.protocol.interrupted()
    scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.LEFT


def test_an_interruption_goes_unannounced_where_nobody_listens(scene: Scene) -> None:
    scene.protocol.tick()
    scene.broken = {"draining"}
    scene.protocol.interrupted()
    scene.protocol.tick()
    assert scene.protocol.state is DrainState.LEFT


def test_a_return_that_crosses_a_notice_is_undone(scene: Scene) -> None:
    # given
    scene.protocol.interrupted()
    scene.is_paused = False  # as by the thread that ticks, which had not seen the notice yet
    # when
    scene.protocol.tick()
    # then
    assert scene.is_paused
    assert scene.protocol.state is DrainState.LEFT


# --- the instance ends itself -------------------------------------------------------------------------------


class Command:
    """A command that was started."""

    def __init__(self) -> None:
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status


class Machine:
    """Starts commands, and lacks some."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        self.started: list[tuple[str, ...]] = []
        self.commands: list[Command] = []
        self.specs: list[ChildSpec] = []

    def start(self, spec: ChildSpec) -> Command:
        if spec.command[0] in self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        self.specs.append(spec)
        self.started.append(spec.command)
        self.commands.append(Command())
        return self.commands[-1]


SHUTDOWN = ("shutdown", "-h", "now")
POWEROFF = ("poweroff", "-f")


def exit_of(machine: Machine, clock: ManualClock) -> InstanceExit:
    return InstanceExit(clock, {"PATH": "/opt/bin", "LANG": "C"}, patience_s=30.0, start=machine.start)


def test_before_it_is_asked_it_runs_nothing() -> None:
    machine = Machine()
    assert exit_of(machine, ManualClock()).tick() > 0
    assert machine.started == []


def test_the_orderly_way_comes_first_and_once() -> None:
    # given
    machine = Machine()
    instance = exit_of(machine, ManualClock())
    # when
    instance.leave()
    instance.leave()
    machine.commands[0].status = 0
    instance.tick()
    # then
    assert machine.started == [SHUTDOWN]
    assert machine.specs[0].environment["LANG"] == "C"
    path = machine.specs[0].environment["PATH"].split(":")
    assert path[0] == "/opt/bin"
    assert "/usr/sbin" in path


def test_who_still_lives_after_that_powers_off_again_and_again() -> None:
    # given
    machine, clock = Machine(), ManualClock()
    instance = exit_of(machine, clock)
    instance.leave()
    # when: it hangs
    clock.advance(29.9)
    instance.tick()
    assert machine.started == [SHUTDOWN]
    clock.advance(0.1)
    for _ in range(3):
        instance.tick()
        clock.advance(30.0)
    # then
    assert machine.started == [SHUTDOWN, POWEROFF, POWEROFF, POWEROFF]


def test_a_shutdown_that_is_refused_is_not_waited_for() -> None:
    # given
    machine = Machine()
    instance = exit_of(machine, ManualClock())
    instance.leave()
    # when
    machine.commands[0].status = 1
    instance.tick()
    # then
    assert machine.started == [SHUTDOWN, POWEROFF]
    # and when: that one is refused too, it is tried again in its time only
    machine.commands[1].status = 1
    instance.tick()
    instance.tick()
    assert machine.started == [SHUTDOWN, POWEROFF]


def test_without_shutdown_it_powers_off() -> None:
    machine = Machine("shutdown")
    exit_of(machine, ManualClock()).leave()
    assert machine.started == [POWEROFF]


def test_without_either_it_goes_on_trying() -> None:
    # given
    machine, clock = Machine("shutdown", "poweroff"), ManualClock()
    instance = exit_of(machine, clock)
    instance.leave()
    # when
    machine.missing = ()
    clock.advance(30.0)
    instance.tick()
    # then
    assert machine.started == [POWEROFF]


def test_a_real_command_is_started_and_not_waited_for(tmp_path: Path) -> None:
    # given: a shutdown that hangs, by its full path, so that no test ever finds the machine's own
    program = tmp_path / "shutdown"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []

    def start(spec: ChildSpec) -> subprocess.Popen[bytes]:
        started.append(start_child(replace(spec, command=(str(program), *spec.command[1:]))))
        return started[-1]

    # when
    InstanceExit(MonotonicClock(), {}, start=start).leave()
    # then
    (process,) = started
    assert process.args == (str(program), "-h", "now")
    assert process.poll() is None
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
