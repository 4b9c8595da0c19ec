"""`beholder demo`: start the service, send a folder of photos through it, keep serving."""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.open_files import allow_files
from beholder.cli.options import read_settings, setting_options
from beholder.cli.up import where_to_look
from beholder.cli.worker import end_on_signals
from beholder.config import Settings
from beholder.errors import ConfigError
from beholder.telemetry.log import configure_logging

if TYPE_CHECKING:
    from beholder.loadgen.answer import Answer

__all__ = ["demo"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="samples")
@click.option(
    "--exit", "must_exit", is_flag=True, help="Stop after the photos, as it does without a terminal."
)
@setting_options("host", "port", "keys", "data_dir", "workers", "model", "precision")
def demo(folder: Path, *, must_exit: bool, **flags: Any) -> None:
    """Start the service, send every photo of FOLDER (default: samples) through it, and keep serving.

    The exit status is 1 if any photo was not recognised.
    """
    from beholder.loadgen.engine import run_load  # noqa: PLC0415
    from beholder.loadgen.plan import LoadPlan, images_in  # noqa: PLC0415
    from beholder.wiring import profile_of  # noqa: PLC0415
    from beholder.wiring.machine import Service  # noqa: PLC0415

    settings = _settings(flags)
    configure_logging(level=settings.log.log_level, process="demo", form=settings.log.log_form)
    allow_files()
    if not settings.machine.workers:
        raise ConfigError("workers is 0, so nothing would be recognised; set it to 1 or more")
    if settings.web.keys == "on":
        raise ConfigError("keys is on, and the demo sends no API key; give --keys off, or --keys open")
    images = images_in(folder)
    stop = threading.Event()
    end_on_signals(stop.set)
    profile = profile_of(settings)
    with Service(profile) as service:
        if not service.await_ready(stop):
            return
        service.follow_demand()
        click.echo(f"{'photo':<24} {'label':<28} {'confidence':>10} {'time':>9}")
        plan = LoadPlan(url=f"{service.url}/v1/classify", images=images, concurrency=2)
        report = run_load(plan, _print_answer)
        click.echo(
            f"\n{report.answered} of {report.requests} photos recognised in {report.duration_s:.2f} s, "
            f"{report.throughput_per_s:.0f} a second, median {report.latency_s.p50 * 1000:.0f} ms"
        )
        if not must_exit and sys.stdin.isatty() and sys.stdout.isatty():
            click.echo(where_to_look(service.url, profile))
            service.run(stop)
    if not report.is_clean:
        sys.exit(1)


def _settings(flags: dict[str, Any]) -> Settings:
    """Return quiet settings, with the demo's own data folder unless one was named."""
    loaded = read_settings(flags | {"log_level": "warning"})
    if loaded.sources["data_dir"] != "default":
        return loaded.settings
    folder = loaded.settings.deployment.data_dir.with_name("beholder-demo")
    return read_settings(flags | {"log_level": "warning", "data_dir": folder}).settings


def _print_answer(answer: "Answer") -> None:
    response = answer.response
    confidence = "" if response.confidence is None else f"{response.confidence:.1%}"
    label = response.label or f"({response.error})"
    click.echo(f"{answer.file:<24} {label:<28} {confidence:>10} {answer.latency_s * 1000:>6.0f} ms")
