"""`beholder doctor`: what hinders a deployment, and the command that mends it."""

import json
from dataclasses import asdict

import click

from beholder.cli.options import read_region

__all__ = ["doctor"]


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one a finding.")
@click.option("--policy", is_flag=True, help="Print the policies that a deployer needs, and check nothing.")
def doctor(name: str, region: str | None, *, as_json: bool, policy: bool) -> None:
    """Check the account, and the deployment NAME.

    Nothing is changed. Each finding is ok, a warning or a problem, and names the command that mends it. The
    exit status is 1 if there is a problem.
    """
    place = read_region(region)
    from beholder.clock import SystemClock  # noqa: PLC0415 -- `beholder --help` needs none of it
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.doctor import Level, check, policies_of  # noqa: PLC0415

    account = Account(place)
    if policy:
        click.echo(json.dumps(policies_of(account, name), indent=2))
        return
    has_problem = False
    for finding in check(account, name, SystemClock()):
        click.echo(json.dumps(asdict(finding)) if as_json else finding.line())
        has_problem |= finding.level is Level.PROBLEM
    if has_problem:
        click.get_current_context().exit(1)
