"""Command-line options that set settings, and the settings that result."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beholder.config import DECLARED, Loaded, load_settings, to_text
from beholder.config.declared import Declared
from beholder.deploy import read_outputs
from beholder.errors import ConfigError

if TYPE_CHECKING:
    from beholder.wiring.backends import Backends

__all__ = ["check_name", "open_backends", "read_region", "read_settings", "setting_options"]

_PROCESS_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")

# Their defaults differ from machine to machine; help texts do not.
_OF_THIS_MACHINE = ("data_dir", "workers")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[_Command], _Command]:
    """Add an option for each named setting, with the setting's meaning as its help."""

    def add(command: _Command) -> _Command:
        for name in reversed(names):
            option = click.option(
                f"--{name.replace('_', '-')}",
                name,
                multiple=name == "model",
                metavar="VALUE",
                help=_help(DECLARED[name]),
            )
            command = option(command)
        return command

    return add


def _help(one: Declared) -> str:
    text, bounds = one.meaning, one.bounds
    if one.name == "model":
        text += " May be given several times."
    values = [*bounds.words, *bounds.choices]
    if values and not bounds.choices:
        values.append("a number" if one.type in {int, float} else "a text")
    if values:
        text += f" One of {', '.join(values)}."
    if bounds.low is not None and not bounds.units:
        text += f" From {bounds.low} to {bounds.high}."
    if one.name not in _OF_THIS_MACHINE:
        text += f"  [default: {one.default if bounds.is_auto else to_text(one, one.default)}]"
    return text


def check_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Return a process's name, which names its files and its queue; raises click.BadParameter."""
    if not _PROCESS_NAME.fullmatch(name):
        raise click.BadParameter("use up to 30 lower-case letters, digits and hyphens")
    return name


def read_settings(flags: dict[str, Any]) -> Loaded:
    """Return the settings of this process: defaults, file, stack, environment and the given flags."""
    return load_settings(os.environ, flags, outputs_of=read_outputs)


@contextmanager
def open_backends(flags: dict[str, Any]) -> "Iterator[Backends]":
    """Open the queue and the stores that the settings name, for a command."""
    from beholder.wiring import profile_of  # noqa: PLC0415 -- `beholder --help` needs none of it

    with profile_of(read_settings(flags).settings).open_backends("") as backends:
        yield backends


def read_region(region: str | None) -> str:
    """Return the region of a command that needs AWS: the option, the settings, or the profile's.

    Raises:
        ConfigError: The settings have problems, or boto3 is missing.
    """
    loaded = read_settings({"region": region})
    if loaded.sources["region"] != "default":
        return loaded.settings.deployment.region
    try:
        from beholder.aws.client import profile_region  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError("this command needs boto3; run: pip install boto3") from exc
    return profile_region() or loaded.settings.deployment.region
