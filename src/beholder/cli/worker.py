"""`beholder worker`: one worker process; `beholder up` starts these."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from beholder.cli.open_files import allow_files
from beholder.cli.options import check_name, read_settings, setting_options
from beholder.cli.service_manager import tell_service_manager
from beholder.cli.stop_event import StopEvent
from beholder.errors import BackendError
from beholder.fleet import follow_parent
from beholder.runner import Runner, persist
from beholder.telemetry.log import configure_logging, log_event

__all__ = ["worker"]

_log = logging.getLogger(__name__)

# Well below the time after which a service manager takes the process for hung.
_WATCHDOG_S = 10.0


@click.command()
@click.option(
    "--name",
    callback=check_name,
    default="worker-0",
    show_default=True,
    help="Unique among the workers of a data folder.",
)
@click.option("--ready-fd", type=int, hidden=True, help="Gets a byte once the models are warm.")
@click.option(
    "--parent-death-pipe", type=int, hidden=True, help="File descriptor that closes with the parent."
)
@click.option("--in-fleet", is_flag=True, hidden=True, help="The parent starts workers as they are needed.")
@setting_options(
    "stack",
    "backend",
    "region",
    "prefix",
    "data_dir",
    "model",
    "shadow",
    "shadow_share",
    "precision",
    "consumers",
    "idle_s_max",
    "leave_by",
    "log_level",
)
def worker(
    name: str, ready_fd: int | None, parent_death_pipe: int | None, *, in_fleet: bool, **flags: Any
) -> None:
    """Run one worker: receive messages, recognise images, store results, reply.

    `beholder up` starts at most one per core; on AWS an instance runs one, with two consumers per core.
    On SIGTERM a worker finishes what it holds, hands back what it has not begun, and ends.
    """
    stop = StopEvent()
    settings = persist("settings", lambda: read_settings(flags), stop).settings
    configure_logging(level=settings.log.log_level, process=name, form=settings.log.log_form)
    end_on_signals(stop.set)
    if parent_death_pipe is not None:
        follow_parent(parent_death_pipe)
    allow_files()
    from beholder.wiring import profile_of  # noqa: PLC0415 -- signals must be handled before the slow part
    from beholder.wiring.worker import open_worker  # noqa: PLC0415

    profile = profile_of(settings)
    with open_worker(profile, name, on_hung=_end_at_once, stop=stop, in_fleet=in_fleet) as opened:
        beside, consumers = Runner(), Runner()
        for part, tick in opened.ticks.items():
            beside.start(part, tick)
        if ready_fd is not None:
            os.write(ready_fd, b"1")
        log_event(_log, logging.INFO, "worker.ready", "ready", models=",".join(settings.worker.model))
        for consumer in opened.consumers:
            consumers.start("worker", consumer.tick)
        tell_service_manager("READY=1")
        while not stop.wait(_WATCHDOG_S):
            tell_service_manager("WATCHDOG=1")
        opened.consumers.drain()
        opened.interrupt()
        consumers.stop(timeout_s=settings.worker.drain_s)
        with suppress(BackendError):  # the messages become visible after their visibility timeout
            opened.consumers.hand_back()
        beside.stop()
    log_event(_log, logging.INFO, "worker.done", "ended in good order")


def _end_at_once() -> None:
    """End as in a crash: the successor reads the journal, and hands back the image that hangs."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_on_signals(*actions: Callable[[], None]) -> None:
    """Call `actions` on SIGTERM and SIGINT."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        for action in actions:
            action()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
