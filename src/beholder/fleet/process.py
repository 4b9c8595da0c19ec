"""A child process, and its parent-death pipe, whose closing tells the child that the parent has ended."""

import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Self

__all__ = ["ChildSpec", "ParentDeathPipe", "follow_parent", "start_child"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The specification of a child process.

    Args:
        name: Such as 'worker-0'; unique, and the same after a restart.
        command: Program and arguments.
        environment: All of the child's environment.
        fds: File descriptors that it inherits.
        stage: Children of a lower stage are stopped first, and have ended before the next stage is stopped.
        may_leave: The child is not restarted after an exit with status 0.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(hash=False)
    fds: tuple[int, ...] = ()
    stage: int = 0
    may_leave: bool = False


class ParentDeathPipe:
    """The parent's side of the pipe, which stays open for as long as this process lives."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both ends."""
        os.close(self.read_fd)
        os.close(self._write_fd)


def follow_parent(fd: int) -> None:
    """Send SIGTERM to this process once its parent is gone; a child calls this at its start."""

    def watch() -> None:
        while os.read(fd, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-death-pipe", daemon=True).start()


def start_child(spec: ChildSpec) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that a Ctrl-C reaches the parent alone."""
    return subprocess.Popen(  # noqa: S603 -- the command is our own
        spec.command,
        env=spec.environment,
        pass_fds=spec.fds,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
