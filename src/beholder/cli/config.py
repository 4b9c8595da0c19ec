"""`beholder config`: every setting, its value, where the value comes from, and what it means."""

import json
from dataclasses import fields

import click

from beholder.cli.options import read_settings
from beholder.config import Settings, to_text

__all__ = ["config"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def config(*, as_json: bool) -> None:
    """Show every setting: its value, where it comes from, and what it means.

    The later source wins: default, the TOML file that BEHOLDER_CONFIG names, the environment variable
    BEHOLDER_<NAME>, the option --<name> of the command.
    """
    loaded = read_settings({})
    rows = [
        (one, to_text(getattr(loaded.settings, one.name)), loaded.sources[one.name])
        for one in fields(Settings)
    ]
    if as_json:
        document = {
            one.name: {"value": value, "source": source, "meaning": one.metadata["meaning"]}
            for one, value, source in rows
        }
        click.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console  # noqa: PLC0415 -- only where a table is drawn
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("setting", "value", "source", "meaning"):
        table.add_column(title, overflow="fold")
    for one, value, source in rows:
        table.add_row(one.name, value, source, one.metadata["meaning"])
    Console(highlight=False).print(table)
