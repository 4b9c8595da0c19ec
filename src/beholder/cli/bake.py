"""`beholder bake`: make an image that has the bundle of a deployment in place."""

import threading
from functools import partial

import click

from beholder.cli.options import read_region

__all__ = ["bake"]


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
def bake(name: str, region: str | None) -> None:
    """Make an image that has the bundle of the deployment NAME in place, and print its id.

    An instance of the image fetches and unpacks nothing, so that it starts about ten seconds sooner. Give the
    image to `beholder deploy --image`. A newer bundle needs a newer image: with an old one an instance starts
    as it does from a stock image. The instance on which the image is made is terminated, also if the command
    is interrupted. `beholder destroy` deletes the image.
    """
    place = read_region(region)
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.bake import Bake  # noqa: PLC0415
    from beholder.deploy.waiting import Waiting  # noqa: PLC0415

    waiting = Waiting(SystemClock(), threading.Event().wait, partial(click.echo, err=True))
    click.echo(Bake(Account(place), name, waiting).run())
