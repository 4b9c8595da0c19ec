"""`beholder doctor`: what hinders a deployment, and the command that mends it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from beholder.cli.options import read_region
from beholder.errors import BeholderError

if TYPE_CHECKING:  # `beholder --help` does not need what they import
    from beholder.deploy.account import Account
    from beholder.deploy.doctor import Finding

__all__ = ["doctor"]


@click.command()
@click.argument("name", default="beholder")
@click.option("--region", metavar="REGION", help="Where it is; by default where AWS's tools would look.")
@click.option("--vpc", metavar="ID", help="Where a new deployment would be.  [default: the default VPC]")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one a finding.")
@click.option(
    "--api-key",
    default="",
    envvar="BEHOLDER_API_KEY",
    show_envvar=True,
    help="Send an image with this key; better in the environment, because every user of the machine sees "
    "command lines.",
)
@click.option("--policy", is_flag=True, help="Print the policies that a deployer needs, and check nothing.")
def doctor(
    name: str, region: str | None, *, vpc: str | None, as_json: bool, api_key: str, policy: bool
) -> None:
    """Check the account, and the deployment NAME.

    Nothing is changed; with an API key, an image is sent through the deployment. Each finding is ok, a
    warning or a problem, and names the command that mends it. The exit status is 1 if there is a problem.
    """
    place = read_region(region)
    from beholder.deploy.account import Account  # noqa: PLC0415 -- `beholder --help` needs none of it
    from beholder.deploy.doctor import Level, policies_of  # noqa: PLC0415

    account = Account(place)
    if policy:
        click.echo(json.dumps(policies_of(account, name), indent=2))
        return
    has_problem = False
    for finding in _findings(account, name, api_key, vpc):
        click.echo(json.dumps(asdict(finding)) if as_json else finding.line())
        has_problem |= finding.level is Level.PROBLEM
    if has_problem:
        click.get_current_context().exit(1)


def _findings(account: "Account", name: str, api_key: str, vpc: str | None) -> "Iterator[Finding]":
    """Yield what the checks find; the image comes last, because a worker may have to start for it."""
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.doctor import Level, check  # noqa: PLC0415
    from beholder.deploy.stack import Stack  # noqa: PLC0415

    findings = check(account, name, SystemClock(), vpc)
    yield from findings
    problems = {one.check for one in findings if one.level is Level.PROBLEM}
    # Without an identity there is nothing to ask, and a stack of someone else has no image to take.
    if problems.isdisjoint({"region", "identity", "clock", "stack"}):
        stack = Stack(account, name)
        if outputs := stack.outputs():
            yield _canary(f"{name} --region {account.region}", outputs, stack.parameters(), api_key)


def _canary(which: str, outputs: "Mapping[str, str]", parameters: dict[str, str], api_key: str) -> "Finding":
    """Send an image through a web tier, if there is a way in; `which` is its name and region in commands."""
    from beholder.cli.canary import send_canary  # noqa: PLC0415
    from beholder.cli.host_name import missing_record  # noqa: PLC0415
    from beholder.client import Client  # noqa: PLC0415
    from beholder.deploy.doctor import Finding, Level  # noqa: PLC0415

    url = outputs.get("Url", "")
    if not url:
        sentence = "no image was sent, because the web tier is inside the VPC, and the stack tells no URL"
        return Finding("canary", Level.WARNING, sentence)
    if not api_key and parameters["Keys"] == "on":
        command = f"export BEHOLDER_API_KEY=$(beholder keys create doctor --stack {which})"
        return Finding("canary", Level.WARNING, "no image was sent, because there is no API key", command)
    click.echo(f"sending an image to {url}; a worker may have to start for it", err=True)
    try:
        with Client(url, api_key=api_key) as client:
            label = send_canary(client)
    except BeholderError as exc:
        reason = missing_record(outputs) or f"only {parameters['ExposeCidr']} may connect"
        sentence = f"an image did not come back: {exc.message}; {reason}"
        return Finding("canary", Level.PROBLEM, sentence, f"beholder status {which}")
    return Finding("canary", Level.OK, f"an image came back recognised: {label}")
