"""The service as `up` and `demo` run it: a lock on the data folder, a socket, and supervised processes."""

import errno
import fcntl
import http.client
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from beholder.cli.sockets import bind, url_of
from beholder.clock import MonotonicClock
from beholder.config import Settings, to_environment
from beholder.config.models import served_specs
from beholder.errors import BackendFull, ConfigError
from beholder.fleet import ChildSpec, LocalFleet, ParentDeathPipe, Supervisor
from beholder.runner import Runner, run
from beholder.telemetry.log import get_logger, log_event

__all__ = ["Service", "lock_data_dir", "where_to_look"]

_log = get_logger(__name__)

_POLL_S = 0.02
_READY_BYTES = 4096
_WEB_STAGE, _WORKER_STAGE = 0, 1
# Names the launch of the workers that are there from the start.
_FIRST = "first"
# Of the thread that deletes; Linux keeps it for each thread.
_NICE = 10


class Service:
    """All processes of one machine; a context manager that ends them in order.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._is_warm = False
        self._is_following = False
        self._controller = ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        """Start everything; raises ConfigError where the settings cannot work here."""
        settings = self._settings
        with ExitStack() as stack:
            listener = self._claim(stack)
            listener.set_inheritable(True)
            self.url = url_of(listener)
            parent_death_pipe = stack.enter_context(ParentDeathPipe())
            self._ready_fd, ready_fd = os.pipe()
            stack.callback(os.close, self._ready_fd)
            stack.callback(os.close, ready_fd)
            web, worker_of = _children(settings, listener.fileno(), parent_death_pipe.read_fd, ready_fd)
            self._supervisor = Supervisor([web], MonotonicClock())
            self._fleet = LocalFleet(self._supervisor, worker_of, room=settings.workers)
            stack.callback(self._supervisor.stop, drain_s=settings.drain_s)
            self._control = stack.enter_context(ExitStack())
            # Those who wait when the end comes may need a worker that is not there yet.
            stack.callback(self._supervisor.stop, drain_s=settings.drain_s, stage=_WEB_STAGE)
            # First of all at the end: who connects then is refused at once, and does not hang until the last.
            stack.callback(listener.close)
            self._supervisor.tick()
            if count := self._first_workers():
                self._fleet.launch(count=count, token=_FIRST)
            self._stack = stack.pop_all()
        if not settings.workers:
            log_event(
                _log,
                logging.WARNING,
                "up.no_workers",
                "workers is 0: images are taken in and wait until a worker is started elsewhere",
            )
        return self

    def _first_workers(self) -> int:
        """Return how many workers boot at the start: one at least, which leaves when nobody comes."""
        settings = self._settings
        if not _scales(settings):
            return settings.workers
        return min(settings.workers, max(1, settings.workers_min + settings.workers_warm_min))

    def follow_demand(self) -> None:
        """Let the number of workers follow the demand from now on; a second call does nothing.

        Call it once the service is ready: it takes CPU time that a startup needs more. Where queue or buckets
        cannot be opened, as on a full disk, that is tried again and again, and the workers stay as they are.
        """
        if self._is_following or self._settings.workers == 0 or not _scales(self._settings):
            return
        ticks: list[Callable[[], float]] = []

        def tick() -> float:
            if not ticks:
                ticks.append(self._open_controller())
            return ticks[0]()

        runner = Runner()
        self._control.callback(self._controller.close)
        self._control.callback(runner.stop)
        runner.start("controller", tick)
        self._is_following = True

    def _open_controller(self) -> Callable[[], float]:
        from beholder.wiring import open_backends  # noqa: PLC0415 -- not before the service is ready
        from beholder.wiring.fleet_local import open_local_controller  # noqa: PLC0415

        with ExitStack() as stack:
            backends = stack.enter_context(open_backends(self._settings, "up"))
            tick = stack.enter_context(open_local_controller(self._settings, backends, self._fleet))
            self._controller.enter_context(stack.pop_all())
        return tick

    def _claim(self, stack: ExitStack) -> socket.socket:
        """Check the models, take the data folder and the address; all problems of these at once."""
        settings, problems = self._settings, []
        claims: tuple[Callable[[], Any], ...] = (
            lambda: served_specs(settings),
            lambda: stack.callback(lock_data_dir(settings.data_dir).close),
            self._check_queue,
            lambda: stack.enter_context(bind(settings.host, settings.port)),
        )
        claimed = None
        for claim in claims:
            try:
                claimed = claim()
            except ConfigError as exc:
                problems += exc.problems
        if problems:
            raise ConfigError(problems)
        assert isinstance(claimed, socket.socket), "the last claim binds"  # noqa: S101
        return claimed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the web tier once those who wait are answered, then the workers."""
        self._stack.__exit__(kind, error, traceback)

    def kill(self) -> None:
        """End all processes at once; what was accepted is kept."""
        self._supervisor.kill()

    def _delete_the_old(self) -> None:
        """Delete what was kept for long enough, beside the service and behind it for the processor."""
        from beholder.wiring.retention import open_retention  # noqa: PLC0415 -- not before it is ready

        retention = open_retention(self._settings)
        if retention is None:
            return

        def tick() -> float:
            with suppress(OSError):  # of this thread alone; a second call changes nothing
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
            return retention.tick()

        runner = Runner()
        self._control.callback(runner.stop)
        runner.start("retention", tick)

    def run(self, stop: threading.Event) -> None:
        """Keep the processes running until `stop` is set; raises ConfigError where one cannot work."""
        self._delete_the_old()
        self.follow_demand()

        def tick() -> float:
            delay_s = self._supervisor.tick()
            # Every worker that becomes ready writes a byte; a pipe that nobody reads fills up in the end.
            self._is_worker_warm()
            if self._supervisor.unfit or self._is_queue_damaged():
                stop.set()
            return delay_s

        run("supervisor", tick, stop)
        self._refuse_unfit()

    def await_ready(self, stop: threading.Event) -> bool:
        """Return True once images are taken in and a worker is warm, False where `stop` came first.

        Raises:
            ConfigError: A process cannot work with the settings.
        """
        while not stop.is_set():
            if self._is_worker_warm() and _is_ready(self.url):
                return True
            self._supervisor.tick()
            self._refuse_unfit()
            stop.wait(_POLL_S)
        return False

    def _is_worker_warm(self) -> bool:
        if self._settings.workers and select.select([self._ready_fd], [], [], 0)[0]:
            # Every worker writes a byte once its models are warm.
            os.read(self._ready_fd, _READY_BYTES)
            self._is_warm = True
        return self._is_warm or not self._settings.workers

    def _check_queue(self) -> None:
        if self._settings.backend == "local":
            from beholder.wiring.queue_file import check_queue_file  # noqa: PLC0415 -- AWS has no such file

            check_queue_file(self._settings)

    def _is_queue_damaged(self) -> bool:
        """Say whether a process met damage in the queue file; restarting it is no use then."""
        if self._settings.backend != "local":
            return False
        from beholder.wiring.queue_file import is_damaged  # noqa: PLC0415 -- AWS has no such file

        return is_damaged(self._settings)

    def _refuse_unfit(self) -> None:
        if self._is_queue_damaged():
            self._check_queue()
        if self._supervisor.unfit:
            raise ConfigError(
                f"{self._supervisor.unfit} cannot work with these settings; its line above says why"
            )


def where_to_look(url: str, settings: Settings) -> str:
    """Return the lines that tell a person where the service is, and for how long it keeps what it takes."""
    from beholder.wiring.retention import kept_sentence  # noqa: PLC0415 -- not before the service is ready

    kept = (f"  retention           {kept_sentence(settings)}",) if settings.backend == "local" else ()
    return "\n".join(
        (
            "",
            f"  beholder is up      {url}",
            f"  page                {url}/",
            f"  API, with examples  {url}/docs",
            f"  try                 curl -F myfile=@photo.jpg {url}/upload",
            *kept,
            "  stop                Ctrl-C",
            "",
        )
    )


def _is_ready(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def lock_data_dir(folder: Path) -> IO[str]:
    """Take the data folder for this process alone, until the file that is returned is closed.

    Raises:
        ConfigError: It is in use by another process, or cannot be written.
        BackendFull: The disk has no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "up.lock").open("a+", encoding="ascii")
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(f"data_dir {folder} is or lies in a file; give a folder with --data-dir") from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise BackendFull("data folder", "open") from exc
        raise ConfigError(
            f"data_dir {folder} cannot be written: {exc.strerror}; give another with --data-dir"
        ) from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ConfigError(
            f"data_dir {folder} is in use by another beholder (process {owner}); "
            "stop it, or give another with --data-dir"
        ) from exc
    with suppress(OSError):  # only told to whoever finds the folder in use; the lock holds without it
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file


def _scales(settings: Settings) -> bool:
    """Say whether the number of workers follows the demand; on AWS it is that of instances that does."""
    return settings.backend == "local"


def _children(
    settings: Settings, socket_fd: int, parent_death_pipe_fd: int, ready_fd: int
) -> tuple[ChildSpec, Callable[[int], ChildSpec]]:
    """Return what to start as the web tier, and as the worker of a number."""
    base = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    environment = base | _thread_limits() | to_environment(settings)
    command = (sys.executable, "-m", "beholder")
    parent_death_pipe = ("--parent-death-pipe", str(parent_death_pipe_fd))
    scales = _scales(settings)
    web = ChildSpec(
        "web-0",
        (*command, "web", "--name", "web-0", "--socket-fd", str(socket_fd), *parent_death_pipe),
        environment,
        (socket_fd, parent_death_pipe_fd),
        stage=_WEB_STAGE,
    )

    def worker_of(number: int) -> ChildSpec:
        name = f"worker-{number}"
        options = (
            "--name",
            name,
            "--ready-fd",
            str(ready_fd),
            *parent_death_pipe,
            *(("--in-fleet",) if scales else ()),
        )
        return ChildSpec(
            name,
            (*command, "worker", *options),
            environment,
            (parent_death_pipe_fd, ready_fd),
            stage=_WORKER_STAGE,
            may_leave=scales,
        )

    return web, worker_of


def _thread_limits() -> dict[str, str]:
    """One worker is one core, so no library may start threads of its own for arithmetic."""
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
