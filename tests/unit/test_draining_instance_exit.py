"""An instance ends itself: by an orderly shutdown, and by force if that does not work."""

import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from beholder.clock import ManualClock, MonotonicClock
from beholder.draining.instance_exit import InstanceExit
from beholder.fleet.process import ChildSpec, start_child


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


def test_before_the_worker_leaves_no_command_runs() -> None:
    machine = Machine()
    assert exit_of(machine, ManualClock()).tick() > 0
    assert machine.started == []


def test_the_shutdown_comes_first_and_once() -> None:
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


def test_a_process_that_still_lives_powers_off_again_and_again() -> None:
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
    # and when: the power-off is refused too, and repeated only when its time is up
    machine.commands[1].status = 1
    instance.tick()
    instance.tick()
    assert machine.started == [SHUTDOWN, POWEROFF]


def test_without_a_shutdown_command_the_instance_powers_off() -> None:
    machine = Machine("shutdown")
    exit_of(machine, ManualClock()).leave()
    assert machine.started == [POWEROFF]


def test_without_either_command_it_keeps_trying() -> None:
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
    assert process.wait(60) == -signal.SIGKILL
