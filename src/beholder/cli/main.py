"""The group of all commands, and how their errors reach a person."""

import importlib
import sys

import click

from beholder import __version__
from beholder.errors import BeholderError, ConfigError

__all__ = ["main"]

# Name of each command, its module under beholder.cli.
_COMMANDS = {
    "up": "beholder.cli.up",
    "demo": "beholder.cli.demo",
    "classify": "beholder.cli.classify",
    "load": "beholder.cli.load",
    "simulate": "beholder.cli.simulate",
    "models": "beholder.cli.models",
    "redrive": "beholder.cli.redrive",
    "repair": "beholder.cli.repair",
    "prune": "beholder.cli.prune",
    "explain": "beholder.cli.explain",
    "destroy": "beholder.cli.destroy",
    "config": "beholder.cli.config",
    "web": "beholder.cli.web",
    "worker": "beholder.cli.worker",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is needed, so that start-up stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="beholder")
def beholder() -> None:
    """Image recognition as a service, whole on one machine.

    \b
    beholder up                      start the service on http://127.0.0.1:8080
    beholder classify photo.jpg      recognise photos without a service
    beholder load --image_folder F   send every photo of a folder through the service
    """  # noqa: D301 -- click needs the character \b itself, not its escape


def main() -> None:
    """Run the command line; an error of ours becomes sentences and an exit status."""
    try:
        beholder.main(standalone_mode=True)
    except ConfigError as exc:
        for problem in exc.problems:
            click.echo(f"beholder: {problem}", err=True)
        sys.exit(2)
    except BeholderError as exc:
        click.echo(f"beholder: {exc.message}", err=True)
        sys.exit(1)
