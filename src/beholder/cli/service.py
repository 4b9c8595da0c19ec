"""`beholder service`: the service of this machine under systemd."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.cli.systemd import ServiceManager, make_user
from beholder.cli.unit import SERVICE_USER, STATE_FOLDER, UNIT, unit_text
from beholder.config import Settings
from beholder.errors import BackendError, ConfigError

__all__ = ["service"]

# The machine's unit may not look into these, and its user mostly could not.
_HOMES = ("/home", "/root", "/run/user")
_STOP_MARGIN_S = 30.0
_SHOWN = (
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "ActiveEnterTimestamp",
    "Result",
)

_of_user = click.option(
    "--user", "is_user", is_flag=True, help="The service manager of this user, instead of the machine's."
)


@click.group()
def service() -> None:
    """Run `beholder up` under systemd: from the boot on, hardened, and restarted if it fails or hangs."""


@service.command()
@_of_user
@click.option("--print", "must_print", is_flag=True, help="Print the unit, and install nothing.")
@setting_options("host", "port", "keys", "workers")
def install(*, is_user: bool, must_print: bool, **flags: Any) -> None:
    """Install and start the service; repeat it after an upgrade, or to change an option.

    Without --user it needs root, and runs as the user beholder with its data in /var/lib/beholder. With
    --user it runs as you, with your data folder. It reads other settings, as BEHOLDER_NAME=value, from
    /etc/beholder.env, or with --user from ~/.config/beholder.env; either file may be missing.
    """
    loaded = read_settings(flags)
    data_dir = _data_dir(loaded.settings, is_user=is_user)
    options = [
        word
        for name, value in flags.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    # -P: with --user it runs in the home folder, whose files are no modules of ours.
    command = (sys.executable, "-P", "-m", "beholder", "up", "--data-dir", data_dir, *options)
    stop_s = loaded.settings.web.shutdown_delay_s + 2 * loaded.settings.worker.drain_s + _STOP_MARGIN_S
    text = unit_text(command, is_user=is_user, stop_s=stop_s)
    if must_print:
        click.echo(text, nl=False)
        return
    manager = _manager(is_user=is_user)
    if not is_user:
        _check_python()
        make_user(SERVICE_USER, STATE_FOLDER)
    path = manager.unit(UNIT)
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = f"journalctl {'--user ' if is_user else ''}-u {UNIT}"
    former = path.read_text(encoding="utf-8") if path.exists() else text
    _put(manager, text)
    try:
        # Returns once the web process listens.
        manager.tell("restart", UNIT)
    except BackendError as exc:
        why = f"the service does not start; see {journal}"
        if former != text:
            why += f"; {_start_former(manager, former)}"
        raise BackendError("systemd", "restart", why) from exc
    click.echo(f"installed and started: {path}\ndata: {data_dir}\nits address, and its log: {journal}")
    if is_user:
        click.echo("it ends when you log out, unless you have run: loginctl enable-linger")


def _put(manager: ServiceManager, text: str) -> None:
    manager.unit(UNIT).write_text(text, encoding="utf-8")
    manager.tell("daemon-reload")
    manager.tell("enable", UNIT)


def _start_former(manager: ServiceManager, text: str) -> str:
    """Start the unit that was there before, so that a wrong option does not end the service."""
    try:
        _put(manager, text)
        manager.tell("restart", UNIT)
    except BackendError:
        return "the unit that was there before is back, but does not start either"
    return "the unit that was there before is back, and runs"


@service.command()
@_of_user
def uninstall(*, is_user: bool) -> None:
    """Stop the service and remove it from systemd; images, results and the queue stay."""
    manager = _manager(is_user=is_user)
    path = manager.unit(UNIT)
    if path.exists():
        manager.tell("disable", "--now", UNIT)
        path.unlink()
        manager.tell("daemon-reload")
        click.echo(f"stopped and removed: {path}")
    else:
        click.echo(f"nothing to remove: there is no {path}")
    data_dir = _data_dir(read_settings({}).settings, is_user=is_user)
    if Path(data_dir).exists():
        click.echo(
            f"the data stays in {data_dir}; delete that folder if you need no image or result any more"
        )


@service.command()
@_of_user
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
def status(*, is_user: bool, as_json: bool) -> None:
    """Show whether the service is installed and runs; the exit status is 1 if it does not run."""
    manager = ServiceManager(is_user=is_user)
    manager.check()
    path = manager.unit(UNIT)
    told = manager.tell("show", f"--property={','.join(_SHOWN)}", UNIT)
    shown = dict(line.split("=", 1) for line in told.splitlines())
    found = {
        "unit": str(path) if path.exists() else None,
        "state": f"{shown['ActiveState']} ({shown['SubState']})",
        "at_boot": shown["UnitFileState"] == "enabled",
        "since": shown["ActiveEnterTimestamp"] or None,
        "process": int(shown["MainPID"]) or None,
        "restarts": int(shown["NRestarts"]),
        "last_result": shown["Result"],
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            words = {None: "none", True: "yes", False: "no"}
            text = words[value] if value is None or isinstance(value, bool) else value
            click.echo(f"{name.replace('_', ' '):<12} {text}")
    if shown["ActiveState"] != "active":
        click.get_current_context().exit(1)


def _manager(*, is_user: bool) -> ServiceManager:
    """Return the service manager that is asked for, if it can be changed from here."""
    manager = ServiceManager(is_user=is_user)
    manager.check()
    if not is_user and os.geteuid() != 0:
        raise ConfigError("a service of the machine needs root: use sudo; or give --user for one of yours")
    return manager


def _check_python() -> None:
    """Refuse a Python that the unit could not start, because it is in someone's home folder."""
    for path in (sys.executable, sys.base_prefix):
        if any(Path(path).is_relative_to(home) for home in _HOMES):
            raise ConfigError(
                f"{path} is in a home folder, which the service may not read; install beholder outside of "
                "home folders, as in /opt/beholder, or give --user"
            )


def _data_dir(settings: Settings, *, is_user: bool) -> str:
    return str(settings.deployment.data_dir.absolute()) if is_user else STATE_FOLDER
