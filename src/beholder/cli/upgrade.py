"""`beholder upgrade`: bring a deployment to the installed version of beholder."""

import click

from beholder.cli.deploy import check_deployment
from beholder.cli.options import read_region

__all__ = ["upgrade"]


@click.command()
@click.argument("name", default="beholder", callback=check_deployment)
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option(
    "--image",
    metavar="AMI",
    help="Machine image of the instances, or stock; by default the newest stock image, or as it was given.",
)
@click.option(
    "--python", metavar="VERSION", default="3.12", show_default=True, help="Python of the machine image."
)
@click.option(
    "--drain",
    is_flag=True,
    help="Stop the service until its queue is empty, where the versions' messages differ.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def upgrade(name: str, region: str | None, *, image: str | None, python: str, drain: bool, yes: bool) -> None:
    """Bring the deployment NAME to the installed version.

    New web instances serve before the old ones go, and launch workers of the new version; workers of the old
    one go when they are idle. No job is lost. If the new version fails, the old one stays; later,
    `beholder deploy NAME --rollback` brings it back. A version whose messages the running one
    cannot read is refused without --drain.
    """
    place = read_region(region)
    from beholder.cli.deploying import Deploying  # noqa: PLC0415
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.plan import make_plan  # noqa: PLC0415
    from beholder.deploy.wanted import Wanted  # noqa: PLC0415

    account = Account(place)
    Deploying(account=account, name=name, python=python).run(
        lambda: make_plan(account, name, Wanted(), image=image, clock=SystemClock(), is_upgrade=True),
        must_exist=True,
        yes=yes,
        drain=drain,
    )
