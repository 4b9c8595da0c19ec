"""`beholder destroy`: take a deployment down, and list what is left."""

import threading
from typing import TYPE_CHECKING

import click

from beholder.cli.options import read_region

if TYPE_CHECKING:  # `beholder --help` does not need what it imports
    from beholder.deploy.account import Account

__all__ = ["destroy"]


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option(
    "--delete-data", is_flag=True, help="Delete images and results too; otherwise their buckets stay."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def destroy(name: str, region: str | None, *, delete_data: bool, yes: bool) -> None:
    """Take the deployment NAME down.

    The web tier goes first, because it launches instances; then the workers, the stack, and whatever else
    carries the deployment's tag. Then every service is asked what is left, and the exit status is 1 if
    anything is. The command may be repeated at any time, also after it was interrupted.
    """
    place = read_region(region)
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.destroy import Destroy  # noqa: PLC0415
    from beholder.deploy.waiting import Waiting  # noqa: PLC0415

    account = Account(place)
    work = Destroy(account, name, Waiting(SystemClock(), threading.Event().wait, click.echo))
    found = work.look()
    if not found:
        _point_elsewhere(account, name)
        return
    click.echo(f"the deployment {name} in {account.region}:")
    for one in found:
        click.echo(f"  {one.kind} {one.id}")
    click.echo("Images and results will be deleted." if delete_data else "Images and results will be kept.")
    if not yes and click.prompt("type its name to destroy it", default="", show_default=False) != name:
        raise click.Abort
    left = work.run(delete_data=delete_data)
    for remains in left:
        click.echo(f"left: {remains.found.kind} {remains.found.id}: {remains.reason}", err=True)
    if left:
        click.get_current_context().exit(1)
    click.echo(f"nothing is left of {name}" if delete_data else f"nothing is left of {name} but its data")


def _point_elsewhere(account: "Account", name: str) -> None:
    """Say that nothing is here; where another region has the deployment, name it and exit with status 1."""
    from beholder.deploy.destroy import other_regions  # noqa: PLC0415

    click.echo(f"there is no deployment {name} in {account.region}")
    if regions := other_regions(account, name):
        for region in regions:
            click.echo(f"it is in {region}: beholder destroy {name} --region {region}", err=True)
        click.get_current_context().exit(1)
