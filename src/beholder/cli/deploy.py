"""`beholder deploy`: make a deployment in an AWS account, or change it."""

import math
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_region, read_settings
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
@click.option("--region", metavar="REGION", help="AWS region; by default where AWS's tools would look.")
@click.option("--max", "fleet_max", type=click.IntRange(0, 10_000), help="Workers at most.  [default: 20]")
@click.option(
    "--instance-types", metavar="TYPES", help="Of the workers, separated by commas, the preferred one first."
)
@click.option("--spot", "is_spot", flag_value="yes", help="Workers are spot, the default.")
@click.option("--on-demand", "is_spot", flag_value="no", help="Workers are on demand.")
@click.option(
    "--latency-goal",
    type=click.FloatRange(0.001, 86_400),
    help="Seconds from image to answer.  [default: 30]",
)
@click.option(
    "--aim",
    type=click.Choice(["steady", "deadline"]),
    help="What the latency goal holds for: a steady load, or a deadline of every image.  [default: steady]",
)
@click.option("--budget-per-hour", metavar="DOLLARS", help="Launch no worker beyond it.  [default: none]")
@click.option(
    "--image", metavar="AMI", help="Machine image of the instances, or stock.  [default: stock, Ubuntu 24.04]"
)
@click.option(
    "--python", metavar="VERSION", default="3.12", show_default=True, help="Python of the machine image."
)
@click.option(
    "--front",
    type=click.Choice(["instance", "balancer"]),
    help="What clients reach: one instance at a fixed address, or a load balancer.  [default: instance]",
)
@click.option(
    "--expose",
    metavar="TO",
    help="Who can connect: mine (this machine's address), internal (the VPC), cidr=ADDRESSES or public.  "
    "[default: mine]",
)
@click.option(
    "--certificate", metavar="ARN", help="TLS certificate of the balancer; --expose public needs it."
)
@click.option(
    "--host-name",
    metavar="NAME",
    help="Name of the certificate by which clients reach the balancer.  [default: its first name]",
)
@click.option("--alarm-email", metavar="ADDRESS", help="Told of alarms, or none.  [default: none]")
@click.option("--vpc", metavar="ID", help="Where the instances run.  [default: the default VPC]")
@click.option(
    "--model",
    "models",
    metavar="NAME|FOLDER",
    multiple=True,
    help="efficientnet-lite0, an imported model or a model folder; may be given several times.",
)
@click.option("--plan", "is_plan", is_flag=True, help="Show the plan and change nothing.")
@click.option("--rollback", is_flag=True, help="Take the last change back: version, image and settings.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
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
    """Make the deployment NAME in AWS, or change it.

    The command shows the plan and what it costs, asks, makes or changes one CloudFormation stack, and ends
    when an image that was sent to the web tier came back recognised. What no option names stays as it is.
    After an interruption, run it again. If a new version fails, the one before stays.

    \b
    beholder deploy zoo --region eu-west-1 --plan
    beholder deploy zoo --region eu-west-1 --max 10 --budget-per-hour 2.50
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    place = read_region(region)
    from beholder.cli.deploying import Deploying  # noqa: PLC0415
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.deploy.account import Account  # noqa: PLC0415
    from beholder.deploy.plan import make_plan  # noqa: PLC0415

    folders = {one: folder for one in models if (folder := _model_folder(one, place))}
    names = [folders[one].resolve().name if one in folders else one for one in models]
    wanted = _wanted(names, **options)
    account = Account(place)
    Deploying(account=account, name=name, folders=list(folders.values()), python=python).run(
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
    models: list[str],
    *,
    fleet_max: int | None,
    instance_types: str | None,
    is_spot: str | None,
    latency_goal: float | None,
    budget_per_hour: str | None,
    front: str | None,
    certificate: str | None,
    host_name: str | None,
    aim: str | None,
    alarm_email: str | None,
) -> "Wanted":
    from beholder.deploy.wanted import Wanted  # noqa: PLC0415

    return Wanted(
        fleet_max=fleet_max,
        instance_types=None if instance_types is None else _types(instance_types),
        on_demand_share=None if is_spot is None else float(is_spot == "no"),
        latency_goal_s=latency_goal,
        budget_per_hour=None if budget_per_hour is None else _budget(budget_per_hour),
        front=front,
        certificate=certificate,
        host_name=host_name,
        aim=aim,
        alarm_email=None if alarm_email is None else _email(alarm_email),
        models=models or None,
    )


def _model_folder(name_or_path: str, region: str) -> Path | None:
    """Return the folder of a model that the bundle has to take along; None for the one that it has."""
    from beholder.model.fetching import is_in_bucket  # noqa: PLC0415

    if is_in_bucket(name_or_path):
        from beholder.wiring.models import find_spec  # noqa: PLC0415

        return find_spec(read_settings({"region": region}).settings, name_or_path).onnx_path.parent
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    from beholder.config.models import models_folder  # noqa: PLC0415
    from beholder.model.registry import BUILTIN_MODEL, ModelRegistry  # noqa: PLC0415

    if name_or_path == BUILTIN_MODEL:
        return None
    folder = models_folder(read_settings({}).settings)
    imported = [one for one in ModelRegistry(folder).list_models() if not one.is_builtin]
    return next((one.folder for one in imported if one.name == name_or_path), None)


def _email(text: str) -> str:
    if text == "none":
        return ""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ConfigError(f"--alarm-email is {text!r}; give an address such as ops@example.com, or none")
    return text


def _types(text: str) -> list[str]:
    types = [one.strip() for one in text.split(",") if one.strip()]
    if not types:
        raise ConfigError(f"--instance-types is {text!r}; give types such as c7a.large,c7i.large")
    return list(dict.fromkeys(types))


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
