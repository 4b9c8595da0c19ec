"""`beholder config`: every setting, with its value, the value's source, and its meaning."""

import json

import click

from beholder.cli.options import read_settings
from beholder.config import DECLARED, to_text, value_of

__all__ = ["config"]

_SOURCE_CHARS = 18
# On a narrower terminal the lines wrap; narrower columns would vanish.
_WIDTH_MIN = 60


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def config(*, as_json: bool) -> None:
    """Show every setting: its value, the value's source, and its meaning.

    The later source wins: default, the TOML file that BEHOLDER_CONFIG names, the environment variable
    BEHOLDER_<NAME>, the option --<name> of the command.
    """
    loaded = read_settings({})
    rows = [
        (one, to_text(one, value_of(loaded.settings, name)), loaded.sources[name])
        for name, one in DECLARED.items()
    ]
    if as_json:
        document = {
            one.name: {
                "value": value,
                "source": source,
                "meaning": one.meaning,
                "group": one.path[0],
            }
            for one, value, source in rows
        }
        click.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console  # noqa: PLC0415 -- only for a table
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    console.width = max(_WIDTH_MIN, console.width)
    # The meaning of a setting is shown below its value, so that both have most of the width.
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value and meaning", overflow="fold")
    table.add_column("source", overflow="fold", max_width=max(_SOURCE_CHARS, console.width // 5))
    group = ""
    for one, value, source in rows:
        if one.path[0] != group:
            group = one.path[0]
            table.add_row(Text(group, style="bold"))
        meaning = Text(one.meaning, style="dim")
        table.add_row(f"  {one.name}", Text.assemble(value, "\n", meaning), source)
    console.print(table)
