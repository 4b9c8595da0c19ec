"""The processes that `beholder up` starts: their command lines and their environment."""

import os
import sys
from collections.abc import Callable

from beholder.config import Settings, to_environment
from beholder.fleet import ChildSpec

__all__ = ["WEB_STAGE", "children"]

# The web tier ends first.
WEB_STAGE, _WORKER_STAGE = 0, 1
# One worker is one core, so no library may start threads of its own for arithmetic.
_THREAD_LIMITS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def children(
    settings: Settings, *, socket_fd: int, parent_death_pipe_fd: int, ready_fd: int, in_fleet: bool
) -> tuple[ChildSpec, Callable[[int], ChildSpec]]:
    """Return what to start as the web tier, and as the worker of a number.

    Args:
        settings: Of the deployment.
        socket_fd: The socket that the web tier serves on.
        parent_death_pipe_fd: Ends when this process does.
        ready_fd: Each worker writes a byte to it once its models are warm.
        in_fleet: A controller starts and counts the workers, and they may leave.
    """
    base = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    environment = base | _THREAD_LIMITS | to_environment(settings)

    def spec(name: str, command: str, *options: str, fds: tuple[int, ...], stage: int) -> ChildSpec:
        # -P: a file of the working folder, such as a queue.py, is no module of ours.
        line = (sys.executable, "-P", "-m", "beholder", command, "--name", name, *options)
        return ChildSpec(
            name,
            (*line, "--parent-death-pipe", str(parent_death_pipe_fd)),
            # Systemd gets to know by the web process alone whether the service is ready, and lives.
            environment if stage == WEB_STAGE else environment | {"NOTIFY_SOCKET": ""},
            fds,
            stage=stage,
            may_leave=in_fleet and stage == _WORKER_STAGE,
        )

    def worker_of(number: int) -> ChildSpec:
        options = ("--ready-fd", str(ready_fd), *(("--in-fleet",) if in_fleet else ()))
        fds = (parent_death_pipe_fd, ready_fd)
        return spec(f"worker-{number}", "worker", *options, fds=fds, stage=_WORKER_STAGE)

    fds = (socket_fd, parent_death_pipe_fd)
    return spec("web-0", "web", "--socket-fd", str(socket_fd), fds=fds, stage=WEB_STAGE), worker_of
