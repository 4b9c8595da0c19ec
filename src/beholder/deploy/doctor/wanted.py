"""The deployment that `beholder doctor` checks: the one that there is, or the one that deploy would make."""

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Wanted
from beholder.deploy.stack import Stack

__all__ = ["wanted_deployment"]

# Ubuntu 24.04, whose python3 is the bundle's. Source:
# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/ (2026-11)
_STOCK_IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
_NO_PARAMETER = ("ParameterNotFound",)
_DEFAULTS = {
    "InstanceTypes": "c7a.large,c6a.large,c7i.large",
    "WebInstanceType": "t3.small",
    "FleetMax": "20",
    "OnDemandShare": "0",
    "PublicAddresses": "yes",
}


def wanted_deployment(account: Account, name: str) -> Wanted:
    """Return the deployment by its stack's parameters; where there is none, the default one.

    Raises:
        ConfigError: The stack of this name is not beholder's.
        BackendError: A service refuses, or does not answer.
    """
    stack = Stack(account, name).describe() or {}
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    values = {**_DEFAULTS, **given}
    return Wanted(
        name=name,
        image=values.get("ImageId") or _stock_image(account),
        instance_types=values["InstanceTypes"].split(","),
        web_instance_type=values["WebInstanceType"],
        fleet_max=int(values["FleetMax"]),
        on_demand_share=float(values["OnDemandShare"]),
        vpc=values.get("VpcId", ""),
        worker_subnets=_listed(values.get("WorkerSubnets", "")),
        web_subnets=_listed(values.get("WebSubnets", "")),
        has_public_addresses=values["PublicAddresses"] == "yes",
        route_tables=_listed(values.get("RouteTables", "")),
    )


def _stock_image(account: Account) -> str:
    """Return the id of the stock image in this region; empty where nobody publishes it."""
    found = account.call("ssm", "get_parameter", expected=_NO_PARAMETER, Name=_STOCK_IMAGE)
    return "" if found.get("Errors") else str(found["Parameter"]["Value"])


def _listed(text: str) -> list[str]:
    return [one for one in text.split(",") if one]
