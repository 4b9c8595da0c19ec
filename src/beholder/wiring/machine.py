"""The service as `up` and `demo` run it: a lock on the data folder, a socket, and supervised processes."""

import http.client
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from beholder.clock import MonotonicClock
from beholder.errors import ConfigError
from beholder.fleet import LocalFleet, ParentDeathPipe, Supervisor
from beholder.runner import Runner, run
from beholder.store.retention import Retention
from beholder.telemetry.log import log_event
from beholder.wiring.children import WEB_STAGE, children
from beholder.wiring.locks import lock_data_dir
from beholder.wiring.models import find_spec, served_specs
from beholder.wiring.profile import Profile
from beholder.wiring.sockets import bind, url_of

__all__ = ["Service"]

_log = logging.getLogger(__name__)

_POLL_S = 0.02
# Between two looks for what no event tells: the mark of a damaged queue file, and warm workers.
_LOOK_S = 1.0
_READY_BYTES = 4096
# Names the launch of the workers that are there from the start.
_FIRST = "first"
# Of the thread that deletes; Linux keeps it for each thread.
_NICE = 10


class Service:
    """All processes of one machine; a context manager that ends them in order.

    Args:
        profile: Of the deployment.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._settings = profile.settings
        self._stack = ExitStack()
        self._is_warm = False
        self._is_following = False
        self.url = ""

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            ConfigError: The settings cannot work here.
        """
        settings = self._settings
        with ExitStack() as stack:
            listener = self._claim(stack)
            listener.set_inheritable(True)
            self.url = url_of(listener)
            pipe = stack.enter_context(ParentDeathPipe())
            self._ready_fd, ready_fd = os.pipe()
            stack.callback(os.close, self._ready_fd)
            stack.callback(os.close, ready_fd)
            web, worker_of = children(
                settings,
                socket_fd=listener.fileno(),
                parent_death_pipe_fd=pipe.read_fd,
                ready_fd=ready_fd,
                in_fleet=self._profile.is_one_machine,
            )
            self._supervisor = Supervisor([web], MonotonicClock())
            self._fleet = LocalFleet(self._supervisor, worker_of, room=settings.machine.workers)
            stack.callback(self._supervisor.stop, drain_s=settings.worker.drain_s)
            self._control = stack.enter_context(ExitStack())
            # The requests that wait at the end may need a worker that is not there yet.
            web_drain_s = settings.web.shutdown_delay_s + settings.worker.drain_s
            stack.callback(self._supervisor.stop, drain_s=web_drain_s, stage=WEB_STAGE)
            # First at the end: a client that connects then is refused at once, and hangs no longer.
            stack.callback(listener.close)
            self._supervisor.tick()
            if count := self._first_workers():
                self._fleet.launch(count=count, token=_FIRST)
            self._stack = stack.pop_all()
        if not settings.machine.workers:
            log_event(
                _log,
                logging.WARNING,
                "up.no_workers",
                "workers is 0: images are taken in and wait until a worker is started elsewhere",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the web tier once the requests that wait are answered, then the workers."""
        self._stack.__exit__(kind, error, traceback)

    def kill(self) -> None:
        """End all processes at once; what was accepted is kept."""
        self._supervisor.kill()

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

    def follow_demand(self) -> None:
        """Let the number of workers follow the demand from now on; a second call does nothing.

        Call it once the service is ready: it takes CPU time that a startup needs more. Where queue or buckets
        cannot be opened, as on a full disk, that is tried again and again, and the workers stay as they are.
        """
        if self._is_following or not self._settings.machine.workers or not self._profile.is_one_machine:
            return
        # Imported here: before the service is ready, imports would take CPU time from the workers' startup.
        from beholder.wiring.fleet_local import open_local_controller  # noqa: PLC0415

        opened = ExitStack()
        ticks: list[Callable[[], float]] = []
        interrupts: list[Callable[[], None]] = []

        def tick() -> float:
            if not ticks:
                with ExitStack() as stack:
                    backends = stack.enter_context(self._profile.open_backends("up"))
                    controller = open_local_controller(self._settings, backends, self._fleet)
                    ticks.append(stack.enter_context(controller))
                    interrupts.append(backends.interrupt)
                    opened.push(stack.pop_all())
            return ticks[0]()

        self._control.push(opened)
        self._start("controller", tick)
        self._control.callback(lambda: [interrupt() for interrupt in interrupts])
        self._is_following = True

    def run(self, stop: threading.Event) -> None:
        """Keep the processes running until `stop` is set.

        Raises:
            ConfigError: A process cannot work with the settings.
        """
        if self._retention is not None:
            self._start("retention", partial(_delete_old_jobs, self._retention))
        self.follow_demand()

        def restart() -> float:
            delay_s = self._supervisor.tick()
            if self._supervisor.unfit:
                stop.set()
            return delay_s

        def look() -> float:
            # Every worker that becomes ready writes a byte; an unread pipe fills up in the end.
            self._is_worker_warm()
            if self._profile.is_queue_damaged():
                stop.set()
            return _LOOK_S

        runner = Runner()
        runner.start("supervisor", restart, self._supervisor.ended)
        try:
            run("service", look, stop)
        finally:
            runner.stop()
        self._refuse_unfit()

    def _claim(self, stack: ExitStack) -> socket.socket:
        """Check the models, take the data folder and the address; report all problems of these at once."""
        settings = self._settings
        problems: list[str] = []
        claims: tuple[Callable[[], Any], ...] = (
            lambda: served_specs(settings),
            lambda: settings.worker.shadow and find_spec(settings, settings.worker.shadow),
            lambda: stack.callback(lock_data_dir(settings.deployment.data_dir).close),
            self._profile.check_queue,
            lambda: stack.enter_context(bind(settings.web.host, settings.web.port, keys=settings.web.keys)),
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
        # Before any other process opens them: a bucket that is missing later was lost.
        self._profile.make_buckets()
        self._retention = self._profile.open_retention()
        return claimed

    def _first_workers(self) -> int:
        """Return how many workers start at first: one at least, which leaves when no image comes."""
        settings = self._settings
        if not self._profile.is_one_machine:
            return settings.machine.workers
        return min(
            settings.machine.workers, max(1, settings.machine.workers_min + settings.machine.workers_warm_min)
        )

    def _start(self, name: str, tick: Callable[[], float]) -> None:
        runner = Runner()
        self._control.callback(runner.stop)
        runner.start(name, tick)

    def _is_worker_warm(self) -> bool:
        if self._settings.machine.workers and select.select([self._ready_fd], [], [], 0)[0]:
            # Every worker writes a byte once its models are warm.
            os.read(self._ready_fd, _READY_BYTES)
            self._is_warm = True
        return self._is_warm or not self._settings.machine.workers

    def _refuse_unfit(self) -> None:
        if self._profile.is_queue_damaged():
            self._profile.check_queue()
        if self._supervisor.unfit:
            raise ConfigError(
                f"{self._supervisor.unfit} cannot work with these settings; its line above says why"
            )


def _delete_old_jobs(retention: Retention) -> float:
    """Delete jobs that were kept for long enough; the thread comes last for the processor."""
    with suppress(OSError):  # of this thread alone; a second call changes nothing
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    return retention.tick()


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
