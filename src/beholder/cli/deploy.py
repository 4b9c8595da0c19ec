"""`beholder deploy`: make a deployment in an AWS account, or change it."""

import math
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_region
from beholder.errors import ConfigError

if TYPE_CHECKING:
    from beholder.deploy.wanted import Wanted

__all__ = ["check_deployment", "deploy"]

# Tells the address that a request comes from.
# Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_SettingUp.html (2026-11)
_ADDRESS_URL = "https://checkip.amazonaws.com/"
_ADDRESS_S_MAX = 10.0


def check_deployment(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Return a deployment's name; raises click.BadParameter."""
    from beholder.deploy.wanted import NAME_PATTERN  # noqa: PLC0415

    if not re.fullmatch(NAME_PATTERN, name):
        raise click.BadParameter("use up to 27 lower-case letters, digits and hyphens, a letter first")
    return name


@click.command()
@click.argument("name", default="beholder", callback=check_deployment)
@click.option("--region", metavar="REGION", help="Where; by default where AWS's tools would look.")
@click.option("--max", "fleet_max", type=click.IntRange(0, 10_000), help="Workers at most.  [default: 20]")
@click.option("--instance-types", metavar="TYPES", help="Of the workers, the preferred one first.")
@click.option("--spot", "is_spot", flag_value="yes", help="Workers are spot, the default.")
@click.option("--on-demand", "is_spot", flag_value="no", help="Workers are on demand.")
@click.option("--latency-goal", type=click.FloatRange(0.001, 86_400), help="In seconds.  [default: 30]")
@click.option("--budget-per-hour", metavar="DOLLARS", help="No launch beyond it; none is no budget.")
@click.option("--image", metavar="AMI", help="Of the instances.  [default: Ubuntu 24.04]")
@click.option("--python", metavar="VERSION", default="3.12", show_default=True, help="Of the image.")
@click.option("--front", type=click.Choice(["instance", "balancer"]), help="What clients reach.")
@click.option(
    "--expose",
    metavar="TO",
    help="Who reaches it: mine (this machine's address, the default), internal (the VPC), cidr=… or public.",
)
@click.option("--certificate", metavar="ARN", help="Of the balancer; public needs one.")
@click.option("--vpc", metavar="ID", help="Where the instances run.  [default: the default VPC]")
@click.option("--model", "models", metavar="NAME|FOLDER", multiple=True, help="May be given several times.")
@click.option("--plan", "is_plan", is_flag=True, help="Show the plan and change nothing.")
@click.option("--rollback", is_flag=True, help="Go back to the version before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def deploy(
    name: str,
    region: str | None,
    *,
    image: str | None,
    python: str,
    expose: str | None,
    vpc: str | None,
    models: tuple[str, ...],
    is_plan: bool,
    rollback: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Make the deployment NAME in an AWS account, or change it; what no option names stays as it is.

    It shows the plan and what it costs, asks, makes or changes one CloudFormation stack, and is done when an
    image that was sent to the web tier came back recognised. A run that was interrupted is run again. If a
    new version fails, the one before stays.
    """
    place = read_region(region)
    from beholder.cli.deploying import Deploying  # noqa: PLC0415
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.plan import make_plan  # noqa: PLC0415

    wanted = _wanted(models, **options)
    folders = [Path(one) for one in models if Path(one).is_dir()]
    account = Account(place)
    Deploying(account=account, name=name, folders=folders, python=python).run(
        lambda: make_plan(
            account,
            name,
            wanted,
            expose=expose,
            image=image,
            vpc=vpc,
            find_address=_find_address,
            clock=SystemClock(),
        ),
        is_plan=is_plan,
        must_exist=rollback,
        yes=yes,
        rollback=rollback,
    )


def _wanted(
    models: tuple[str, ...],
    *,
    fleet_max: int | None,
    instance_types: str | None,
    is_spot: str | None,
    latency_goal: float | None,
    budget_per_hour: str | None,
    front: str | None,
    certificate: str | None,
) -> "Wanted":
    from beholder.deploy.wanted import Wanted  # noqa: PLC0415

    return Wanted(
        fleet_max=fleet_max,
        instance_types=instance_types.split(",") if instance_types else None,
        on_demand_share=None if is_spot is None else float(is_spot == "no"),
        latency_goal_s=latency_goal,
        budget_per_hour=None if budget_per_hour is None else _budget(budget_per_hour),
        front=front,
        certificate=certificate,
        models=[Path(one).resolve().name if Path(one).is_dir() else one for one in models] or None,
    )


def _budget(text: str) -> float:
    if text == "none":
        return math.inf
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text):
        raise ConfigError(f"--budget-per-hour is {text!r}; give dollars such as 2.50, or none")
    return float(text)


def _find_address() -> str:
    """Return this machine's own address on the internet."""
    try:
        with urllib.request.urlopen(_ADDRESS_URL, timeout=_ADDRESS_S_MAX) as answer:
            return str(answer.read(64).decode().strip())
    except OSError as exc:
        raise ConfigError(
            f"this machine's own address is unknown ({_ADDRESS_URL}: {exc}); use --expose cidr=ADDRESS/32"
        ) from exc
