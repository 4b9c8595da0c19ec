"""`beholder redrive`: list dead letters, and send them back."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.clock import utc_text

if TYPE_CHECKING:  # `beholder --help` does not need what it imports
    from beholder.dead_letters.redrive import DeadLetter, RedriveDecision

__all__ = ["redrive"]

_DONE = {"send": "sent back", "put_away": "put away", "leave": "left"}
_WOULD = {"send": "would be sent back", "put_away": "would be put away", "leave": "would be left"}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "is_all", is_flag=True, help="Send back every letter except the unreadable ones.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one for each letter.")
@setting_options("stack", "backend", "region", "prefix", "data_dir")
def redrive(ids: tuple[str, ...], *, is_all: bool, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """List the dead letters, newest last, or send those of the given IDs back to the workers.

    A dead letter is the message of a job that was given up. Sending it back queues the job again. The exit
    status is 1 if a letter was left where it was, and 2 if an ID names no letter; then nothing is sent.

    \b
    beholder redrive                 list them, with the reasons
    beholder redrive --all           send all back
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    if is_all and ids:
        raise click.UsageError("give either IDs or --all")
    if dry_run and not (is_all or ids):
        raise click.UsageError("--dry-run prints what would be sent back; give IDs or --all with it")
    from beholder.dead_letters.redrive import Action, Redrive  # noqa: PLC0415
    from beholder.wiring import profile_of  # noqa: PLC0415

    settings = read_settings(flags).settings
    with profile_of(settings).open_backends("") as backends:
        map_items = backends.per_image.map_items
        redrives = Redrive(backends.queue, backends.results, backends.clock, map_items=map_items)
        if not (is_all or ids):
            _show(redrives.letters(), as_json=as_json)
            return
        letters = (
            [one for one in redrives.letters() if not one.is_unreadable] if is_all else redrives.find(ids)
        )
        if not letters:
            click.echo("no dead letters to send back", err=as_json)
        left = 0
        for letter, decision in zip(
            letters, map_items(redrives.look if dry_run else redrives.send_back, letters), strict=True
        ):
            click.echo(_line(letter, decision, _WOULD if dry_run else _DONE, as_json=as_json))
            left += decision.action is Action.LEAVE
    if left:
        click.echo(
            f"{left} of {len(letters)} dead letters {'would be' if dry_run else 'were'} left", err=True
        )
        click.get_current_context().exit(1)


def _show(letters: Sequence["DeadLetter"], *, as_json: bool) -> None:
    if as_json:
        for one in letters:
            click.echo(json.dumps(_facts(one)))
        return
    if not letters:
        click.echo("no dead letters")
        return
    rows = [("given up at", "id", "file", "code", "reason")]
    rows += [(utc_text(one.at_s), one.id, one.file_name or "-", one.code, one.reason) for one in letters]
    plain = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"{len(letters)} dead letter{'s' if len(letters) > 1 else ''}")


def _line(letter: "DeadLetter", decision: "RedriveDecision", words: dict[str, str], *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"id": letter.id, "action": str(decision.action), "reason": decision.reason})
    return f"{_plain(letter.id)}  {words[decision.action]}: {decision.reason}"


def _facts(letter: "DeadLetter") -> dict[str, str | None]:
    return {
        "id": letter.id,
        "at": utc_text(letter.at_s),
        "file_name": letter.file_name,
        "code": letter.code,
        "reason": letter.reason,
    }


def _plain(text: str) -> str:
    """Return `text` without control characters, which a terminal would obey; clients choose file names."""
    return "".join(one if one.isprintable() else "?" for one in text)
