"""Keeps child processes running: restarts each that ends, at first at once, then after growing pauses.

A child with `may_leave` that ends with status 0 is forgotten. Children can be added and ended at any time.
"""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from beholder.clock import Clock
from beholder.fleet.process import ChildSpec, start_child
from beholder.telemetry.log import log_event

__all__ = ["ChildRun", "Supervisor", "restart_pause_s"]

_log = logging.getLogger(__name__)

# The exit status of a process whose settings cannot be used.
EXIT_CONFIG = 2

# A pass comes when a child ends or is due; this is how often one comes without.
_TICK_S = 10.0
_HEALTHY_S = 10.0
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 10.0
# The wait after SIGKILL; only a process that hangs in the kernel takes longer.
_KILL_S = 2.0


def restart_pause_s(previous_pause_s: float, lived_s: float) -> float:
    """Return the pause before a restart: none after a healthy run, else twice the previous pause.

    Args:
        previous_pause_s: The pause before the run that ended.
        lived_s: How long that run was.
    """
    if lived_s >= _HEALTHY_S:
        return 0.0
    return min(_PAUSE_MAX_S, max(_PAUSE_FIRST_S, previous_pause_s * 2))


@dataclass(frozen=True, slots=True)
class ChildRun:
    """One run of a child, present or about to begin.

    Args:
        name: The child's name.
        number: How many runs it had before.
    """

    name: str
    number: int


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = 0.0
    start_at_s: float = 0.0
    restarts: int = 0
    is_unfit: bool = False


class Supervisor:
    """Starts children, restarts those that end, and stops them in order; any thread may use it.

    Args:
        specs: The children to run.
        clock: The time.
        start: Starts one child; the default starts a process.

    Attributes:
        ended: Set when a child has ended, so that the next pass is due at once.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        clock: Clock,
        start: Callable[[ChildSpec], subprocess.Popen[bytes]] = start_child,
    ) -> None:
        self._clock = clock
        self._start = start
        self._lock = threading.RLock()
        self._children = [_Child(spec) for spec in specs]
        self._stopped: set[int] = set()
        self.ended = threading.Event()

    @property
    def unfit(self) -> str | None:
        """Name of a child that cannot work with its settings, so that a restart is of no use; or None."""
        with self._lock:
            return next((child.spec.name for child in self._children if child.is_unfit), None)

    def runs(self) -> list[ChildRun]:
        """Return the run of every child that has not left, including children that wait for a restart."""
        with self._lock:
            return [
                ChildRun(child.spec.name, child.restarts) for child in self._children if not _has_left(child)
            ]

    def add(self, spec: ChildSpec) -> None:
        """Start one more child.

        Raises:
            OSError: The machine has no room for a process.
            ValueError: There is a child of this name, or its stage was stopped.
        """
        with self._lock:
            self._forget_left()
            if spec.stage in self._stopped or any(child.spec.name == spec.name for child in self._children):
                raise ValueError(f"{spec.name} cannot be started: it runs already, or its stage was stopped")
            child = _Child(spec)
            self._begin(child)
            self._children.append(child)

    def end(self, name: str) -> None:
        """Kill a child and forget it; an unknown name is ignored."""
        with self._lock:
            ended = [child for child in self._children if child.spec.name == name]
            self._children = [child for child in self._children if child.spec.name != name]
        for child in ended:
            if child.process is not None:
                child.process.kill()
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(_KILL_S)

    def tick(self) -> float:
        """Record ended children, and start those that are due; return the seconds until the next pass."""
        with self._lock:
            self._forget_left()
            for child in self._children:
                self._reap(child)
                is_due = child.process is None and self._clock.now_s() >= child.start_at_s
                if is_due and child.spec.stage not in self._stopped:
                    self._begin(child)
            waits_s = [one.start_at_s - self._clock.now_s() for one in self._children if one.process is None]
        # Those of a stopped stage are due and do not start.
        return min((wait_s for wait_s in waits_s if wait_s > 0), default=_TICK_S)

    def stop(self, *, drain_s: float, stage: int | None = None) -> None:
        """End every child, stage after stage: SIGTERM, time to finish, then SIGKILL.

        Args:
            drain_s: How long one stage may take.
            stage: The only stage to end; None for all.
        """
        with self._lock:
            stages = {child.spec.stage for child in self._children} if stage is None else {stage}
        for stopped in sorted(stages):
            self._stop_stage(stopped, drain_s)

    def kill(self) -> None:
        """End every child at once, by SIGKILL."""
        with self._lock:
            for child in self._children:
                if child.process is not None:
                    child.process.kill()

    def _stop_stage(self, stage: int, drain_s: float) -> None:
        with self._lock:
            self._stopped.add(stage)
            running = [
                child.process for child in self._children if child.spec.stage == stage and child.process
            ]
        for process in running:
            process.terminate()
        deadline_s = self._clock.now_s() + drain_s
        for process in running:
            try:
                process.wait(max(0.0, deadline_s - self._clock.now_s()))
            except subprocess.TimeoutExpired:
                log_event(_log, logging.WARNING, "supervisor.kill", "did not finish in time", pid=process.pid)
                process.kill()
                process.wait()

    def _begin(self, child: _Child) -> None:
        child.process = self._start(child.spec)
        child.started_at_s = self._clock.now_s()
        watched = threading.Thread(target=self._await_end, args=(child.process.pid,), daemon=True)
        watched.start()

    def _await_end(self, pid: int) -> None:
        with suppress(ChildProcessError):  # it was reaped already
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.ended.set()

    def _forget_left(self) -> None:
        left = [child for child in self._children if _has_left(child)]
        self._children = [child for child in self._children if child not in left]
        for child in left:
            lived_s = round(self._clock.now_s() - child.started_at_s, 1)
            log_event(_log, logging.INFO, "supervisor.left", "left", child=child.spec.name, lived_s=lived_s)

    def _reap(self, child: _Child) -> None:
        if child.process is None or child.process.poll() is None:
            return
        child.is_unfit = child.process.returncode == EXIT_CONFIG
        lived_s = self._clock.now_s() - child.started_at_s
        child.pause_s = restart_pause_s(child.pause_s, lived_s)
        child.start_at_s = self._clock.now_s() + child.pause_s
        child.restarts += 1
        log_event(
            _log,
            logging.ERROR,
            "supervisor.restart",
            "ended unexpectedly",
            child=child.spec.name,
            pid=child.process.pid,
            status=_exit_text(child.process.returncode),
            lived_s=round(lived_s, 1),
            pause_s=child.pause_s,
            restarts=child.restarts,
        )
        child.process = None


def _has_left(child: _Child) -> bool:
    return child.spec.may_leave and child.process is not None and child.process.poll() == 0


def _exit_text(status: int) -> str:
    if status >= 0:
        return f"exit {status}"
    return next((known.name for known in signal.Signals if known.value == -status), f"signal {-status}")
