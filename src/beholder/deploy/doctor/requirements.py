"""What a deployment needs of an account, by the parameters of its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beholder.deploy.account import Account
from beholder.deploy.stack import Stack
from beholder.deploy.wanted import INSTANCE_TYPES, STOCK_IMAGE, WEB_TYPE

__all__ = ["Requirements", "read_parameters", "requirements_of"]

_NO_PARAMETER = ("ParameterNotFound",)
_DEFAULTS = {
    "InstanceTypes": ",".join(INSTANCE_TYPES),
    "WebInstanceType": WEB_TYPE,
    "FleetMax": "20",
    "OnDemandShare": "0",
    "PublicAddresses": "yes",
    "ImageId": "",
    "VpcId": "",
    "WorkerSubnets": "",
    "WebSubnets": "",
    "RouteTables": "",
}


@dataclass(frozen=True)
class Requirements:
    """What a deployment needs of an account; the fields mean what the template's parameters mean.

    Args:
        name: The deployment's name.
        image: Id of the image.
        instance_types: Of the workers, in order of preference.
        web_instance_type: Of the web instances.
        fleet_max: Most workers at a time.
        on_demand_share: Share of the workers that are not spot.
        vpc: Id of the VPC; empty for the default one.
        worker_subnets: Ids; none for those that `choose_network` takes.
        web_subnets: Likewise.
        has_public_addresses: Whether instances get public addresses.
        route_tables: Ids of those for which the deployment makes a gateway endpoint of S3.
    """

    name: str
    image: str
    instance_types: Sequence[str]
    web_instance_type: str
    fleet_max: int
    on_demand_share: float
    vpc: str
    worker_subnets: Sequence[str]
    web_subnets: Sequence[str]
    has_public_addresses: bool
    route_tables: Sequence[str]


def requirements_of(name: str, parameters: Mapping[str, str]) -> Requirements:
    """Return what a deployment needs.

    Args:
        name: The deployment's name.
        parameters: Of the template; those that are missing are the defaults.
    """
    values = {**_DEFAULTS, **parameters}
    return Requirements(
        name=name,
        image=values["ImageId"],
        instance_types=values["InstanceTypes"].split(","),
        web_instance_type=values["WebInstanceType"],
        fleet_max=int(values["FleetMax"]),
        on_demand_share=float(values["OnDemandShare"]),
        vpc=values["VpcId"],
        worker_subnets=_listed(values["WorkerSubnets"]),
        web_subnets=_listed(values["WebSubnets"]),
        has_public_addresses=values["PublicAddresses"] == "yes",
        route_tables=_listed(values["RouteTables"]),
    )


def read_parameters(account: Account, name: str) -> dict[str, str]:
    """Return the parameters of a deployment's stack; where there is none, the id of the stock image alone.

    Raises:
        ConfigError: The stack of this name is not beholder's.
        BackendError: A service refuses, or does not answer.
    """
    return Stack(account, name).parameters() or {"ImageId": _stock_image(account)}


def _stock_image(account: Account) -> str:
    """Return the id of the stock image in this region; empty where nobody publishes it."""
    found = account.call("ssm", "get_parameter", expected=_NO_PARAMETER, Name=STOCK_IMAGE)
    return "" if found.get("Errors") else str(found["Parameter"]["Value"])


def _listed(text: str) -> list[str]:
    return [one for one in text.split(",") if one]
