"""The group of all commands; prints their errors and sets the exit status."""

import importlib
import sys

import click

from beholder import __version__
from beholder.errors import BeholderError, ConfigError

__all__ = ["main"]

# Each command is the function of this name in the module of this name.
_COMMANDS = (
    "up",
    "demo",
    "service",
    "classify",
    "load",
    "top",
    "simulate",
    "models",
    "keys",
    "redrive",
    "repair",
    "prune",
    "explain",
    "deploy",
    "upgrade",
    "bake",
    "ship-logs",
    "doctor",
    "status",
    "logs",
    "destroy",
    "config",
    "web",
    "worker",
)


class _LazyGroup(click.Group):
    """Imports a command's module when the command is needed, so that start-up stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"beholder.cli.{name}")
        command: click.Command = getattr(module, name)
        return command


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="beholder")
def beholder() -> None:
    """Image recognition as a service, whole on one machine or in your AWS account.

    \b
    beholder up                      start the service on http://127.0.0.1:8080
    beholder classify photo.jpg      recognise photos without a service
    beholder load --image_folder F   send every photo of a folder through the service
    beholder deploy                  set the service up in your AWS account
    """  # noqa: D301 -- click needs the character \b itself, not its escape


def main() -> None:
    """Run the command line; print an error of ours as sentences, with an exit status."""
    try:
        beholder.main(standalone_mode=True)
    except ConfigError as exc:
        for problem in exc.problems:
            click.echo(f"beholder: {problem}", err=True)
        sys.exit(2)
    except BeholderError as exc:
        click.echo(f"beholder: {exc.message}", err=True)
        sys.exit(1)
