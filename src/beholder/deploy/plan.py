"""The plan of a deployment: what will exist, where, why, and what it costs; worked out by reading alone."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from typing import Any

from beholder.clock import Clock
from beholder.deploy.account import Account
from beholder.deploy.bundle_bucket import VERSION, BundleBucket, State, changes
from beholder.deploy.certificate import host_name_of
from beholder.deploy.costs import Costs, hourly_costs, instance_prices, price_table
from beholder.deploy.network import Network, choose_network, look_at_network
from beholder.deploy.stack import Stack
from beholder.deploy.wanted import (
    INSTANCE_TYPES,
    STOCK_IMAGE,
    WEB_TYPE,
    Exposure,
    Image,
    Wanted,
    parameters_of,
)
from beholder.errors import BackendDenied, ConfigError, DeployError, ResourceNotFound

__all__ = ["Plan", "make_plan", "template_text"]

_ARCHITECTURE = "x86_64"
_STOCK = "stock"
# A person would see nothing in these.
_UNTOLD = (
    "StartScript",
    "Prices",
    "RootDevice",
    "BundleKey",
    "BundleSha256",
    "PreviousState",
    "WebInstances",
)
_HOURS_PER_DAY = 24


@dataclass(frozen=True)
class Plan:
    """What `beholder deploy` is about to do.

    Args:
        name: Of the deployment.
        region: Where.
        owner: Id of the account.
        status: Of the stack; empty where there is none.
        before: Its parameters; empty where there is none.
        parameters: What they will be, those of the bundle excepted.
        network: Why this network, as a sentence; empty where it stays.
        costs: Dollars per hour.
        template: The text that the stack's template will be.
        template_before: What it is; empty where there is no stack.
        versions: Of beholder, as it is and as it will be.
        notes: What was left out, as sentences.
    """

    name: str
    region: str
    owner: str
    status: str
    before: Mapping[str, str]
    parameters: Mapping[str, str]
    network: str
    costs: Costs
    template: str = ""
    template_before: str = ""
    versions: tuple[str, str] = ("", "")
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the plan in words."""
        given, told = self.parameters, []
        told.append(f"deployment {self.name} in {self.region}, account {self.owner}")
        if self.before:
            changed = [
                f"  {key}: {self.before.get(key, '')} -> {value}"
                for key, value in sorted(given.items())
                if key not in _UNTOLD and self.before.get(key, value) != value
            ]
            told += (
                ["it exists; these parameters change:", *changed]
                if changed
                else ["it exists; its settings stay"]
            )
            before = State(self.template_before, self.before)
            told += [
                f"  version    {one}" for one in changes(before, State(self.template, given), self.versions)
            ]
        told.append(f"  web tier   {_web(given)}")
        told.append(f"  reached    {_reached(given)}")
        told.append(f"  workers    0 to {given['FleetMax']} of {given['InstanceTypes']}, {_purchase(given)}")
        told.append(f"  models     {given['Models']}")
        told.append(f"  image      {given['ImageId']}")
        told.append(f"  network    {self.network or given['VpcId'] + ', as it is'}")
        told.append(
            f"  also       3 buckets {self.name}-{self.owner}-{self.region}-*, 2 queues, 2 roles, "
            f"2 launch templates, alarms, the log group /beholder/{self.name}"
        )
        told += [f"  {note}" for note in self.notes]
        told += [f"  costs      {line}" for line in self._costs()]
        told.append(
            f"  untouched  everything without the tag beholder:deployment={self.name}"
            + "".join(f", but that {one}" for one in _touched(given))
        )
        return told

    def _costs(self) -> list[str]:
        table, costs, most = price_table(), self.costs, int(self.parameters["FleetMax"])
        idle = "unknown" if costs.idle is None else _dollars(costs.idle)
        full = (
            "unknown"
            if None in {costs.idle, costs.instance}
            else _dollars((costs.idle or 0) + most * (costs.instance or 0))
        )
        where = f"list prices of {table['region']} of {table['date']}"
        if "/spot=" in self.parameters["Prices"]:
            where += f", spot prices of {self.region} of now"
        if self.region != table["region"]:
            where += f"; {self.region} has other list prices, which beholder does not know"
        return [f"idle {idle}", f"at {most} workers {full}", f"({where}; without traffic and storage)"]


def _dollars(per_hour: float) -> str:
    return f"${per_hour:.3f} an hour, ${per_hour * _HOURS_PER_DAY:.2f} a day"


def _web(given: Mapping[str, str]) -> str:
    if given["Front"] == "balancer":
        tls = f"TLS for {given['HostName']}" if given["CertificateArn"] else "plain HTTP"
        return f"{given['WebInstances']} {given['WebInstanceType']} behind a balancer with {tls}"
    return f"one {given['WebInstanceType']}, replaced if it fails, at a fixed address, plain HTTP"


def _reached(given: Mapping[str, str]) -> str:
    inside = "inside the VPC" if given["Reach"] == "vpc" else "from the internet"
    return f"{inside}, by {given['ExposeCidr']} alone, with an API key"


def _purchase(given: Mapping[str, str]) -> str:
    share = float(given["OnDemandShare"])
    bought = {0.0: "spot", 1.0: "on demand"}.get(share, f"{share:.0%} on demand, the others spot")
    budget = given["BudgetPerHour"]
    return bought if budget == "none" else f"{bought}; none is launched beyond ${budget} an hour"


def _touched(given: Mapping[str, str]) -> list[str]:
    """Return what changes of what is not the deployment's own."""
    touched = []
    if given["RouteTables"]:
        touched.append(f"{given['RouteTables']} get the route of the gateway endpoint of S3")
    if float(given["OnDemandShare"]) < 1:
        touched.append("the account gets the role that spot needs")
    return touched


def template_text() -> str:
    """Return the text of the CloudFormation template."""
    return (resources.files("beholder.deploy") / "template.yaml").read_text("utf-8")


def _no_address() -> str:
    raise DeployError("there is no such deployment")


def make_plan(
    account: Account,
    name: str,
    wanted: Wanted,
    *,
    expose: str | None = None,
    image: str | None = None,
    vpc: str | None = None,
    find_address: Callable[[], str] = _no_address,
    clock: Clock,
    is_upgrade: bool = False,
) -> Plan:
    """Return the plan; nothing is changed.

    Args:
        account: Where the deployment is, or will be.
        name: Its name.
        wanted: What is asked for.
        expose: 'mine', 'internal', 'public' or 'cidr=…'; None for as it is, or 'mine'.
        image: Id of the image, or 'stock'; None for as it is, or the stock image.
        vpc: Id of the VPC; None for as it is, or the default one.
        find_address: Returns the caller's own address on the internet; only for a new deployment.
        clock: The time, for prices.
        is_upgrade: Whether the stock image is taken anew, unless another one was given.

    Raises:
        ConfigError: The options do not go together, or the stack of this name is someone else's.
        DeployError: The account lacks what is needed; the sentence says what.
        BackendError: A service refuses, or does not answer.
    """
    stack = Stack(account, name)
    status, before = stack.status(), stack.parameters()
    zones = _zones(account, [*(wanted.instance_types or _types(before)), WEB_TYPE])
    types, notes = _offered(wanted.instance_types, before, zones, account.region)
    wanted = replace(wanted, instance_types=types)
    exposure, network = _network(
        account, name, wanted, before, zones, expose=expose, vpc=vpc, find_address=find_address
    )
    prices = instance_prices(account, types, spot=_has_spot(wanted, before), now_s=clock.now_s())
    parameters = parameters_of(
        wanted,
        before,
        exposure=exposure,
        network=network,
        image=_image_of(account, image, before, is_upgrade=is_upgrade),
        prices=prices,
        script=(resources.files("beholder.deploy") / "user_data.sh").read_text("utf-8"),
    )
    parameters["HostName"] = _host_name(account, parameters, before)
    return Plan(
        name=name,
        region=account.region,
        owner=account.call("sts", "get_caller_identity")["Account"],
        status=status,
        before=before,
        parameters=parameters,
        network=network.reason if network else "",
        costs=hourly_costs(parameters, prices),
        template=template_text(),
        notes=notes,
        **_as_it_is(account, stack, status, before),
    )


def _network(
    account: Account,
    name: str,
    wanted: Wanted,
    before: Mapping[str, str],
    zones: Mapping[str, set[str]],
    *,
    expose: str | None,
    vpc: str | None,
    find_address: Callable[[], str],
) -> tuple[Exposure | None, Network | None]:
    """Return from where it is reached, and its network; None for as they are."""
    front = wanted.front or before.get("Front", "instance")
    if before and not expose and not vpc and front == before.get("Front"):
        return None, None
    seen = look_at_network(account, name, vpc or before.get("VpcId"))
    exposure = _exposure(expose, before, seen.cidr, find_address)
    return exposure, choose_network(
        seen,
        is_internal=exposure.is_internal,
        has_balancer=front == "balancer",
        worker_zones={zone for one in wanted.instance_types or () for zone in zones[one]},
        web_zones=zones.get(WEB_TYPE, ()),
    )


def _as_it_is(account: Account, stack: Stack, status: str, before: Mapping[str, str]) -> dict[str, Any]:
    """Return the template and the versions of a plan for a stack that was made."""
    installed = metadata.version("beholder")
    if not before or status == "REVIEW_IN_PROGRESS":
        return {"versions": ("", installed)}
    key = before.get("BundleKey", "")
    told = BundleBucket(account, stack.name).metadata(key) if key else {}
    return {"template_before": stack.template(), "versions": (told.get(VERSION, ""), installed)}


def _host_name(account: Account, parameters: Mapping[str, str], before: Mapping[str, str]) -> str:
    """Return the host name of the certificate, which is looked at where it or the name is new."""
    certificate, asked = parameters["CertificateArn"], parameters["HostName"]
    is_new = (certificate, asked) != (before.get("CertificateArn"), before.get("HostName"))
    return host_name_of(account, certificate, asked) if certificate and is_new else asked


def _has_spot(wanted: Wanted, before: Mapping[str, str]) -> bool:
    share = wanted.on_demand_share
    return (float(before.get("OnDemandShare", 0)) if share is None else share) < 1


def _types(before: Mapping[str, str]) -> Sequence[str]:
    return before["InstanceTypes"].split(",") if before else INSTANCE_TYPES


def _zones(account: Account, types: Sequence[str]) -> dict[str, set[str]]:
    """Return the zones that offer each type; a type that no zone offers is left out."""
    told = account.pages(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(types)}],
    )
    zones: dict[str, set[str]] = {}
    for one in told:
        zones.setdefault(one["InstanceType"], set()).add(one["Location"])
    return zones


def _offered(
    asked: Sequence[str] | None, before: Mapping[str, str], zones: Mapping[str, set[str]], region: str
) -> tuple[list[str], list[str]]:
    """Return the types that the region offers, and a note about those that it does not."""
    types = asked or _types(before)
    missing = [one for one in types if one not in zones]
    offered = [one for one in types if one in zones]
    if not offered or (asked and missing):
        raise DeployError(f"{region} does not offer {', '.join(missing)}; choose others by --instance-types")
    return offered, [f"left out   {region} does not offer {one}" for one in missing]


def _exposure(
    expose: str | None, before: Mapping[str, str], cidr: str, find_address: Callable[[], str]
) -> Exposure:
    if expose is None and before:
        return Exposure(before["ExposeCidr"], before["Reach"] == "vpc")
    if expose in {None, "mine"}:
        return Exposure(_addresses(f"cidr={find_address()}/32"))
    if expose == "internal":
        return Exposure(cidr, is_internal=True)
    if expose == "public":
        return Exposure("0.0.0.0/0")
    return Exposure(_addresses(str(expose)))


def _addresses(expose: str) -> str:
    """Return the addresses of 'cidr=…'; raises `ConfigError`."""
    kind, _, cidr = expose.partition("=")
    try:
        if kind == "cidr":
            return str(ipaddress.IPv4Network(cidr))
        reason = "such as cidr=203.0.113.0/24"
    except ValueError as exc:
        reason = str(exc)
    raise ConfigError(f"--expose takes mine, internal, public or cidr=ADDRESSES, not {expose!r}: {reason}")


def _image_of(
    account: Account, asked: str | None, before: Mapping[str, str], *, is_upgrade: bool
) -> Image | None:
    """Return the image, None for as it is; an upgrade takes the patches that a newer stock image has."""
    if asked and asked != _STOCK:
        return _image(account, asked)
    if asked or not before or (is_upgrade and before.get("ImageSource") == _STOCK):
        return replace(_image(account, None), is_stock=True)
    return None


def _image(account: Account, image: str | None) -> Image:
    region = account.region
    try:
        chosen = image or account.call("ssm", "get_parameter", Name=STOCK_IMAGE)["Parameter"]["Value"]
    except (ResourceNotFound, BackendDenied) as exc:
        raise DeployError(
            f"{region} tells no id of an Ubuntu 24.04 image ({exc.message}); name one by --image"
        ) from exc
    try:
        found = account.call("ec2", "describe_images", ImageIds=[chosen])["Images"]
    except (ResourceNotFound, BackendDenied) as exc:
        raise DeployError(
            f"{region} has no image {chosen} that this account may use; ids of images differ by region"
        ) from exc
    if not found:
        raise DeployError(f"{region} has no image {chosen}; ids of images differ by region")
    one = found[0]
    if one.get("Architecture", _ARCHITECTURE) != _ARCHITECTURE:
        raise DeployError(f"the image {chosen} is for {one['Architecture']}; beholder's bundle is for x86-64")
    return Image(chosen, one.get("RootDeviceName", "/dev/sda1"))
