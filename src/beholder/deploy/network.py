"""The network of a deployment: in which VPC and subnets its instances run, and how they reach AWS."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from beholder.deploy.account import Account
from beholder.errors import DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["Network", "Seen", "Subnet", "Way", "choose_network", "look_at_network"]

_ANYWHERE = "0.0.0.0/0"
# What instances without a way to the internet need by endpoints of their own; S3 has the template's.
_ENDPOINTS = ("sqs", "logs", "ec2")
# The zones of a balancer.
# Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html
_BALANCER_ZONES_MIN = 2


class Way(Enum):
    """How a subnet reaches the services of AWS."""

    INTERNET = "an internet gateway"
    NAT = "a NAT gateway or another route out"
    NONE = "no route out"


@dataclass(frozen=True)
class Subnet:
    """A subnet of the VPC.

    Args:
        id: Its id.
        zone: Its Availability Zone.
        route_table: The id of the route table that counts for it.
        way: Its way out.
        cidr: Its addresses.
    """

    id: str
    zone: str
    route_table: str
    way: Way
    cidr: str


@dataclass(frozen=True)
class Seen:
    """What an account has of networks.

    Args:
        vpc: Id of the chosen VPC.
        cidr: Its addresses.
        subnets: Of the VPC.
        s3_route_tables: Route tables that have a gateway endpoint of S3 which is not the deployment's.
        endpoints: Services with an interface endpoint in the VPC, such as 'sqs'.
    """

    vpc: str
    cidr: str
    subnets: Sequence[Subnet]
    s3_route_tables: Collection[str]
    endpoints: Collection[str]


@dataclass(frozen=True)
class Network:
    """The choice.

    Args:
        vpc: Id of the VPC.
        cidr: Its addresses.
        worker_subnets: Ids, one in each zone.
        web_subnets: Ids, one in each zone.
        web_cidrs: The addresses of these.
        has_public_addresses: Whether instances get public addresses, which is how they reach AWS.
        route_tables: Ids of those that get the gateway endpoint of S3.
        reason: A sentence for the plan.
    """

    vpc: str
    cidr: str
    worker_subnets: Sequence[str]
    web_subnets: Sequence[str]
    web_cidrs: Sequence[str]
    has_public_addresses: bool
    route_tables: Sequence[str]
    reason: str


def choose_network(
    seen: Seen,
    *,
    is_internal: bool,
    has_balancer: bool,
    worker_zones: Collection[str],
    web_zones: Collection[str],
) -> Network:
    """Return the network of a deployment.

    Args:
        seen: What there is.
        is_internal: Whether the web tier is reached from inside the VPC alone.
        has_balancer: Whether a balancer stands before the web tier.
        worker_zones: Zones that offer a type of the workers.
        web_zones: Zones that offer the type of the web instances.

    Raises:
        DeployError: No subnet will do; the sentence says why.
    """
    ways = [Way.NAT, Way.NONE, Way.INTERNET] if is_internal else [Way.INTERNET]
    found: dict[Way, list[Subnet]] = {way: [one for one in seen.subnets if one.way is way] for way in Way}
    way = next((one for one in ways if found[one]), None)
    if way is None:
        raise DeployError(_no_subnet(seen))
    if way is Way.NONE and (missing := [one for one in _ENDPOINTS if one not in seen.endpoints]):
        raise DeployError(
            f"the subnets of {seen.vpc} have no route out, and the VPC has no endpoint of "
            f"{', '.join(missing)}, so that instances would wait in vain; add a NAT gateway or the endpoints"
        )
    workers = _by_zone(found[way], worker_zones)
    web = _by_zone(found[way], web_zones)
    for kind, chosen in (("the workers", workers), ("the web instances", web)):
        if not chosen:
            zones = ", ".join(sorted({one.zone for one in found[way]}))
            raise DeployError(f"no zone of {seen.vpc} ({zones}) offers an instance type of {kind}")
    if has_balancer and len(web) < _BALANCER_ZONES_MIN:
        raise DeployError(
            f"a balancer needs subnets in two zones, and {seen.vpc} has such in {web[0].zone} alone"
        )
    tables = {one.route_table for one in (*workers, *web)} - set(seen.s3_route_tables)
    return Network(
        vpc=seen.vpc,
        cidr=seen.cidr,
        worker_subnets=[one.id for one in workers],
        web_subnets=[one.id for one in web],
        web_cidrs=[one.cidr for one in web],
        has_public_addresses=way is Way.INTERNET,
        route_tables=sorted(tables),
        reason=_reason(seen, way, workers, tables),
    )


def _no_subnet(seen: Seen) -> str:
    if not seen.subnets:
        return f"{seen.vpc} has no subnets; choose another VPC by --vpc"
    return (
        f"{seen.vpc} has only private subnets, so the internet cannot reach a web tier in it; "
        "use --expose internal, or choose another VPC by --vpc"
    )


def _by_zone(subnets: Sequence[Subnet], zones: Collection[str]) -> list[Subnet]:
    """Return the first subnet of each zone that will do."""
    chosen: dict[str, Subnet] = {}
    for one in sorted(subnets, key=lambda subnet: (subnet.zone, subnet.id)):
        if one.zone in zones:
            chosen.setdefault(one.zone, one)
    return list(chosen.values())


def _reason(seen: Seen, way: Way, workers: Sequence[Subnet], tables: Collection[str]) -> str:
    how = {
        Way.INTERNET: "instances get public addresses, because the way out is an internet gateway",
        Way.NAT: "instances have private addresses and a route out",
        Way.NONE: "instances have private addresses and reach AWS by the VPC's endpoints",
    }[way]
    s3 = "a gateway endpoint of S3 is added" if tables else "S3 has its gateway endpoint"
    return f"{seen.vpc}, {len(workers)} zones; {how}; {s3}"


# --- what there is -----------------------------------------------------------------------------------------


def look_at_network(account: Account, name: str, vpc: str | None) -> Seen:
    """Return what the account has of the VPC with this id, by default its default VPC, or else its only one.

    Raises:
        DeployError: There is no such VPC, or none to take by default.
        BackendError: EC2 refuses, or does not answer.
    """
    chosen = _vpc(account, vpc)
    only = [{"Name": "vpc-id", "Values": [chosen["VpcId"]]}]
    tables = account.pages("ec2", "describe_route_tables", "RouteTables", Filters=only)
    subnets = account.pages("ec2", "describe_subnets", "Subnets", Filters=only)
    endpoints = account.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=only)
    ours = {"Key": DEPLOYMENT_TAG, "Value": name}
    s3 = [
        table
        for one in endpoints
        if one["ServiceName"].endswith(".s3") and one.get("VpcEndpointType") == "Gateway"
        if ours not in one.get("Tags", []) and _is_there(one)
        for table in one.get("RouteTableIds", [])
    ]
    return Seen(
        vpc=chosen["VpcId"],
        cidr=chosen["CidrBlock"],
        subnets=[_subnet(one, tables) for one in subnets],
        s3_route_tables=s3,
        endpoints=[
            one["ServiceName"].rpartition(".")[2]
            for one in endpoints
            if one.get("SubnetIds") and _is_there(one)
        ],
    )


def _is_there(endpoint: Mapping[str, Any]) -> bool:
    """Say whether an endpoint stays: EC2 lists one for a while that is being deleted, or is rejected."""
    return str(endpoint.get("State", "available")).lower() in {"available", "pending", "pendingacceptance"}


def _vpc(account: Account, vpc: str | None) -> Mapping[str, Any]:
    vpcs = account.pages("ec2", "describe_vpcs", "Vpcs")
    region = account.region
    names = ", ".join(sorted(one["VpcId"] for one in vpcs))
    if vpc:
        found = [one for one in vpcs if one["VpcId"] == vpc]
        if not found:
            raise DeployError(f"there is no VPC {vpc} in {region}; there are: {names or 'none'}")
        return found[0]  # type: ignore[no-any-return]
    if default := [one for one in vpcs if one.get("IsDefault")]:
        return default[0]  # type: ignore[no-any-return]
    if len(vpcs) == 1:
        return vpcs[0]  # type: ignore[no-any-return]
    if vpcs:
        raise DeployError(f"{region} has no default VPC; choose one of {names} by --vpc")
    raise DeployError(f"{region} has no VPC; make one: aws ec2 create-default-vpc --region {region}")


def _subnet(one: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> Subnet:
    own = [
        table
        for table in tables
        if any(link.get("SubnetId") == one["SubnetId"] for link in table["Associations"])
    ]
    main = [table for table in tables if any(link.get("Main") for link in table["Associations"])]
    table: Mapping[str, Any] = (own or main)[0]
    way = _way(table["Routes"])
    return Subnet(one["SubnetId"], one["AvailabilityZone"], table["RouteTableId"], way, one["CidrBlock"])


def _way(routes: Sequence[Mapping[str, Any]]) -> Way:
    for route in routes:
        if route.get("DestinationCidrBlock") == _ANYWHERE and route.get("State", "active") == "active":
            return Way.INTERNET if str(route.get("GatewayId", "")).startswith("igw-") else Way.NAT
    return Way.NONE
