"""`beholder explain`: why the fleet had the size that it had at a given time."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from beholder.cli.options import read_settings, setting_options

__all__ = ["explain", "moment_of"]

_AROUND_S = 3600.0
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


@click.command()
@click.option(
    "--at",
    metavar="TIME",
    help="When: 14:03, 14:03:30, or 2026-03-01T14:03, in this machine's time zone. Without it: now.",
)
@click.option("--json", "as_json", is_flag=True, help="The records of that hour as JSON lines, oldest first.")
@setting_options("stack", "backend", "region", "prefix", "data_dir")
def explain(at: str | None, *, as_json: bool, **flags: Any) -> None:
    """Explain why there were so many instances: what the controller observed, wanted, bounded and did.

    \b
    beholder explain                 the last decision
    beholder explain --at 14:03      the decision in force then, and what came before and after
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    from beholder.scaling.records.decision_log import read_records  # noqa: PLC0415
    from beholder.scaling.records.explain import explain as in_words  # noqa: PLC0415
    from beholder.wiring import profile_of  # noqa: PLC0415

    settings = read_settings(flags).settings
    with profile_of(settings).open_backends("") as backends:
        now_s = backends.clock.now_s()
        at_s = now_s if at is None else moment_of(at, datetime.fromtimestamp(now_s, UTC).astimezone())
        records = list(read_records(backends.results, at_s - _AROUND_S, at_s + _AROUND_S))
    if as_json:
        for one in records:
            click.echo(json.dumps(one.to_dict()))
        return
    zone = datetime.fromtimestamp(at_s, UTC).astimezone().tzinfo
    click.echo(in_words(records, at_s, zone or UTC))


def moment_of(text: str, now: datetime) -> float:
    """Return a date and time, or the last occurrence of a time of day, in seconds since the Unix epoch.

    Args:
        text: The time as the user wrote it.
        now: The present, in the user's time zone.

    Raises:
        click.BadParameter: The text is neither.
    """
    found = _TIME.fullmatch(text.strip())
    try:
        if found is None:
            moment = datetime.fromisoformat(text.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).timestamp()
        hour, minute, second = (int(one or 0) for one in found.groups())
        moment = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is no time such as 14:03 or 2026-03-01T14:03") from exc
    if moment > now:
        moment -= timedelta(days=1)
    return moment.timestamp()
