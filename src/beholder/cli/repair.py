"""`beholder repair`: replaces a damaged queue file."""

import json
from typing import Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.errors import BackendUnavailable, ConfigError

__all__ = ["repair"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@setting_options("prefix", "data_dir")
def repair(*, as_json: bool, **flags: Any) -> None:
    """Set a damaged queue file aside, and queue again every image without an outcome.

    Stop the service first. Messages that can still be read are kept. The command may be interrupted and run
    again at any time. If the file is not damaged, it queues the images whose messages were lost.
    """
    settings = read_settings(flags).settings
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.wiring import profile_of, queue_file  # noqa: PLC0415
    from beholder.wiring.locks import lock_data_dir  # noqa: PLC0415

    if not profile_of(settings).is_one_machine:
        raise ConfigError("beholder repair mends the queue file of one machine; on AWS there is none")
    if not settings.deployment.data_dir.is_dir():
        raise ConfigError(
            f"data_dir {settings.deployment.data_dir} is no folder; give another with --data-dir"
        )
    with lock_data_dir(settings.deployment.data_dir):
        try:
            done = queue_file.repair(settings, SystemClock())
        except OSError as exc:
            raise BackendUnavailable("queue file", "repair", f"{exc}; run it again then") from exc
    if as_json:
        aside = None if done.aside is None else str(done.aside)
        click.echo(json.dumps({"aside": aside, "kept": done.kept, "queued": done.queued}))
        return
    if done.aside is not None:
        click.echo(f"the old queue file is {done.aside}; delete it once you no longer need it")
    click.echo(f"messages kept       {done.kept}")
    click.echo(f"images queued again {done.queued}")
