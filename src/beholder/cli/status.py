"""`beholder status`: what a deployment on AWS is doing."""

import json
from dataclasses import asdict

import click

from beholder.cli.options import read_region

__all__ = ["status"]


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
def status(name: str, region: str | None, *, as_json: bool) -> None:
    """Show what the deployment NAME is doing.

    Its stack, web tier, queues, workers, last decisions, last starts, the last start that failed with the end
    of its log, and what it costs. What may not be read is told at the end; the exit status is then 1.
    """
    place = read_region(region)
    from beholder.clock import SystemClock  # noqa: PLC0415 -- `beholder --help` needs none of it
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.find import find_deployment  # noqa: PLC0415
    from beholder.deploy.status import lines_of, read_status  # noqa: PLC0415
    from beholder.wiring.aws import open_bucket  # noqa: PLC0415

    account = Account(place)
    found = read_status(
        account,
        name,
        find_deployment(account, name, "status"),
        open_store=lambda bucket: open_bucket(bucket, place),
        now_s=SystemClock().now_s(),
    )
    click.echo(json.dumps(asdict(found)) if as_json else "\n".join(lines_of(found)))
    if found.unread:
        click.get_current_context().exit(1)
