"""`beholder logs`: what the instances of a deployment on AWS write."""

import json
import threading
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_region
from beholder.config.texts import age_of
from beholder.errors import BackendError, ConfigError

if TYPE_CHECKING:  # `beholder --help` does not need what it imports
    from beholder.deploy.logs import LogLine, LogReader

__all__ = ["logs"]

_POLL_S = 2.0
# Members of a line that stand at its front, or are in every line.
_IN_FRONT = ("at", "level", "process", "action", "message")


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option("--role", type=click.Choice(["web", "worker"]), help="Only of these instances.")
@click.option("--instance", metavar="ID", help="Only of this instance.")
@click.option("--since", metavar="AGE", default="10m", show_default=True, help="How far back, such as 2h.")
@click.option("--follow", is_flag=True, help="Go on with new lines until interrupted.")
def logs(
    name: str, region: str | None, *, role: str | None, instance: str | None, since: str, follow: bool
) -> None:
    """Print what the web processes and workers of the deployment NAME wrote.

    \b
    beholder logs zoo --role worker --since 1h
    beholder logs zoo --instance i-0123456789abcdef0 --follow
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    place = read_region(region)
    from beholder.cli.worker import end_on_signals  # noqa: PLC0415
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.find import find_deployment  # noqa: PLC0415
    from beholder.deploy.logs import LogReader, log_group, stream_prefixes  # noqa: PLC0415

    try:
        since_s = age_of(since)
    except ValueError as exc:
        raise ConfigError(f"--since {exc}") from exc
    account = Account(place)
    find_deployment(account, name, "logs")
    prefixes = stream_prefixes(role, instance)
    reader = LogReader(account, log_group(name), prefixes, SystemClock().now_s() - since_s)
    for line in reader.read():
        click.echo(_text(line))
    if follow:
        stop = threading.Event()
        end_on_signals(stop.set)
        while not stop.wait(_POLL_S):
            _follow(reader)


def _follow(reader: "LogReader") -> None:
    """Print what is new; what a service refuses for now comes later."""
    try:
        for line in reader.read():
            click.echo(_text(line))
    except BackendError as exc:
        if not exc.retryable:
            raise
        click.echo(f"beholder: {exc.message}", err=True)


def _text(line: "LogLine") -> str:
    """Return a line as text, with no character that a terminal would obey."""
    from beholder.clock import utc_text  # noqa: PLC0415

    try:
        document: Any = json.loads(line.text)
        facts = "".join(f" {key}={value}" for key, value in document.items() if key not in _IN_FRONT)
        level = "" if document["level"] == "info" else f"{document['level']}: "
        text = f"{document['action']}: {level}{document['message']}{facts}"
    except (ValueError, KeyError, TypeError, AttributeError):  # a traceback, or another program's line
        text = line.text
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text.rstrip()
    )
    return f"{utc_text(line.at_s)} {line.stream} {shown}"
