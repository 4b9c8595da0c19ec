"""`beholder up`: the whole service on this machine, until Ctrl-C."""

import logging
import threading
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.open_files import allow_files
from beholder.cli.options import read_settings, setting_options
from beholder.cli.worker import end_on_signals
from beholder.telemetry.log import configure_logging, log_event

if TYPE_CHECKING:
    from beholder.wiring import Profile

__all__ = ["up", "where_to_look"]

_log = logging.getLogger(__name__)


@click.command()
@setting_options(
    "host",
    "port",
    "keys",
    "data_dir",
    "workers",
    "model",
    "shadow",
    "shadow_share",
    "precision",
    "batch_max",
    "log_level",
    "log_form",
)
def up(**flags: Any) -> None:
    """Start the service: a web tier and its workers, up to one per core by demand, until Ctrl-C.

    Every accepted image is answered, even after a crash: start the service again on the same data folder, and
    it continues.

    \b
    beholder up
    curl -F myfile=@photo.jpg http://127.0.0.1:8080/upload
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    settings = read_settings(flags).settings
    configure_logging(level=settings.log.log_level, process="up", form=settings.log.log_form)
    allow_files()
    from beholder.wiring import profile_of  # noqa: PLC0415
    from beholder.wiring.machine import Service  # noqa: PLC0415

    stop = threading.Event()
    end_on_signals(stop.set)
    profile = profile_of(settings)
    with Service(profile) as service:
        # A second Ctrl-C does not wait for the current work.
        end_on_signals(lambda: service.kill() if stop.is_set() else stop.set())
        if service.await_ready(stop):
            click.echo(where_to_look(service.url, profile))
        service.run(stop)
        log_event(_log, logging.INFO, "up.stopping", "finishing the current work; no accepted image is lost")


def where_to_look(url: str, profile: "Profile") -> str:
    """Return the lines that show the service's addresses, and how long it keeps images."""
    from beholder.wiring.retention import kept_sentence  # noqa: PLC0415

    header = '-H "X-API-Key: $BEHOLDER_API_KEY" '
    is_keyed = profile.settings.web.keys == "on"
    retention = f"  retention           {kept_sentence(profile.settings)}"
    return "\n".join(
        (
            "",
            f"  beholder is up      {url}",
            f"  page                {url}/",
            f"  API, with examples  {url}/docs",
            f"  try                 curl {header if is_keyed else ''}-F myfile=@photo.jpg {url}/upload",
            *(("  API key             beholder keys create NAME",) if is_keyed else ()),
            *((retention,) if profile.is_one_machine else ()),
            "  stop                Ctrl-C",
            "",
        )
    )
