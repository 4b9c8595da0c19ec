"""`beholder up`: the whole service on this machine, until Ctrl-C."""

import logging
import threading
from typing import Any

import click

from beholder.cli.files import allow_files
from beholder.cli.options import read_settings, setting_options
from beholder.cli.worker import end_on_signals
from beholder.telemetry.log import configure_logging, get_logger, log_event

__all__ = ["up"]

_log = get_logger(__name__)


@click.command()
@setting_options(
    "host", "port", "data_dir", "workers", "model", "precision", "batch_max", "log_level", "log_form"
)
def up(**flags: Any) -> None:
    """Start the service: a web tier and one worker per core, until Ctrl-C.

    Every image that was accepted is answered, also after a crash: start it again on the same data folder and
    it goes on.

    \b
    beholder up
    curl -F myfile=@photo.jpg http://127.0.0.1:8080/upload
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    loaded = read_settings(flags)
    configure_logging(level=loaded.settings.log_level, process="up", form=loaded.settings.log_form)
    allow_files()
    from beholder.cli.service import Service, where_to_look  # noqa: PLC0415

    stop = threading.Event()
    end_on_signals(stop.set)
    with Service(loaded.settings) as service:
        # A second Ctrl-C does not wait for the work in hand.
        end_on_signals(lambda: service.kill() if stop.is_set() else stop.set())
        if service.await_ready(stop):
            click.echo(where_to_look(service.url, loaded.settings))
        service.run(stop)
        log_event(_log, logging.INFO, "up.stopping", "finishing the work in hand; nothing accepted is lost")
