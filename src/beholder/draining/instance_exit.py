"""How an instance leaves: it shuts itself down, and EC2 terminates it.

The launch template says that a shutdown from within terminates the instance, so a worker needs no permission.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from beholder.clock import Clock
from beholder.fleet.process import ChildSpec, start_child
from beholder.telemetry.log import log_event

__all__ = ["InstanceExit", "StartedCommand"]

_log = logging.getLogger(__name__)

# The second command does not ask the service manager; it is repeated for as long as this process lives.
_COMMANDS = (("shutdown", "-h", "now"), ("poweroff", "-f"))
# Where these programs are; a service's PATH may lack them.
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_TICK_S = 1.0


class StartedCommand(Protocol):
    """A command that was started, and for which no part waits."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        ...


class InstanceExit:
    """Ends the machine that this process runs on.

    Nothing here waits: while a command hangs, the next command is run when the time of the first is up.

    Args:
        clock: The time; only durations count.
        environment: For the commands.
        patience_s: How long this process may outlive a command before the next command is run.
        start: Starts a command; raises `OSError` if there is no such program.
    """

    def __init__(
        self,
        clock: Clock,
        environment: Mapping[str, str],
        *,
        patience_s: float = 30.0,
        start: Callable[[ChildSpec], StartedCommand] = start_child,
    ) -> None:
        self._clock = clock
        path = f"{environment['PATH']}:{_SYSTEM_PATH}" if environment.get("PATH") else _SYSTEM_PATH
        self._environment = {**environment, "PATH": path}
        self._patience_s = patience_s
        self._start = start
        self._step: int | None = None
        self._next_at_s = 0.0
        # All are kept: Python warns of a process object that is dropped while its process runs.
        self._started: list[StartedCommand] = []
        self._is_watched = False

    def leave(self) -> None:
        """Run the first command; a second call does nothing. `tick` does the rest."""
        if self._step is None:
            self._run(0)

    def tick(self) -> float:
        """Try the next command if it is due; return the seconds until the next pass."""
        if self._step is None:
            return _TICK_S
        if self._clock.now_s() >= self._next_at_s:
            self._run(min(self._step + 1, len(_COMMANDS) - 1))
        elif self._is_watched and (status := self._started[-1].poll()):
            self._is_watched = False
            self._fail(self._step, f"exit status {status}")
        return _TICK_S

    def _run(self, step: int) -> None:
        self._step = step
        self._next_at_s = self._clock.now_s() + self._patience_s
        command = _COMMANDS[step]
        log_event(
            _log, logging.WARNING, "instance.exit", "the instance ends itself", command=" ".join(command)
        )
        try:
            self._started.append(self._start(ChildSpec(command[0], command, self._environment)))
        except OSError as exc:
            self._fail(step, str(exc.strerror or exc))
        else:
            self._is_watched = True

    def _fail(self, step: int, reason: str) -> None:
        """Run the next command now; the last command is repeated when its time is up."""
        log_event(
            _log,
            logging.ERROR,
            "instance.exit_failed",
            "the instance could not end itself",
            command=" ".join(_COMMANDS[step]),
            reason=reason,
        )
        if step + 1 < len(_COMMANDS):
            self._run(step + 1)
