"""What a person asks of a deployment, and the template's parameters that follow from it."""

import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beholder.deploy.network import Network
from beholder.errors import ConfigError

__all__ = [
    "INSTANCE_TYPES",
    "NAME_PATTERN",
    "STOCK_IMAGE",
    "WEB_TYPE",
    "Exposure",
    "Image",
    "Wanted",
    "parameters_of",
]

NAME_PATTERN = r"[a-z][a-z0-9-]{0,26}"
"""Of a deployment: a longer name gives buckets more than the 63 characters that S3 allows."""

INSTANCE_TYPES = ("c7a.large", "c7i.large", "c6a.large", "c6i.large", "m6a.large")
"""Of workers, where nobody says otherwise: with two cores, and several, so that some have spot capacity."""

WEB_TYPE = "t3.small"

STOCK_IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
"""The public parameter with the id of the stock image: Ubuntu 24.04 for x86-64, whose python3 is 3.12.

Source: https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/ (2026-11)
"""

# The widest network that one owner has is a /8; what is wider is a part of the internet.
_PREFIX_MIN = 8
_STARTUPS_IN_ALARM = 2
# What cannot change in place: the address that clients have, and what CloudFormation can only replace, for
# which it needs another name.
# Source (2026-11): https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/,
# pages aws-resource-elasticloadbalancingv2-loadbalancer (Scheme) and -targetgroup (VpcId)
_FIXED = {"Front": "--front", "Reach": "--expose internal", "VpcId": "--vpc"}
_STARTUP_S = 200.0


@dataclass(frozen=True)
class Exposure:
    """From where the web tier is reached.

    Args:
        cidr: Addresses that may connect.
        is_internal: Whether its own address is inside the VPC.
    """

    cidr: str
    is_internal: bool = False

    @property
    def is_public(self) -> bool:
        """Whether everyone may connect, or so many that it comes to the same."""
        return not self.is_internal and ipaddress.ip_network(self.cidr).prefixlen < _PREFIX_MIN


@dataclass(frozen=True)
class Image:
    """A machine image.

    Args:
        id: Its id.
        root_device: The name of its root device.
        is_stock: Whether it is the newest stock image, which an upgrade replaces by a newer one.
    """

    id: str
    root_device: str
    is_stock: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of `beholder deploy`; None means: as it is, or the default for a new deployment.

    Args:
        fleet_max: Workers at most.
        instance_types: Of the workers.
        on_demand_share: Of the workers, 0 to 1; the others are spot.
        latency_goal_s: See the setting of this name.
        budget_per_hour: See the setting of this name; `math.inf` for none.
        front: 'instance' or 'balancer'.
        certificate: ARN of the balancer's certificate.
        host_name: A name of the certificate, by which clients reach the balancer.
        models: Names of the models that are served.
        aim: See the setting of this name.
        alarm_email: Address that is told of alarms; empty for none.
    """

    fleet_max: int | None = None
    instance_types: Sequence[str] | None = None
    on_demand_share: float | None = None
    latency_goal_s: float | None = None
    budget_per_hour: float | None = None
    front: str | None = None
    certificate: str | None = None
    host_name: str | None = None
    models: Sequence[str] | None = None
    aim: str | None = None
    alarm_email: str | None = None


def parameters_of(
    wanted: Wanted,
    before: Mapping[str, str],
    *,
    exposure: Exposure | None,
    network: Network | None,
    image: Image | None,
    prices: Mapping[str, float],
    script: str,
) -> dict[str, str]:
    """Return the template's parameters, those of the bundle excepted.

    Args:
        wanted: What is asked for.
        before: The parameters of the stack; empty for a new deployment.
        exposure: From where it is reached; None for as it is.
        network: Its network; None for as it is.
        image: Of its instances; None for as it is.
        prices: Of the workers' types, in dollars per hour.
        script: What an instance runs when it starts.

    Raises:
        ConfigError: What is asked for does not go together.
    """
    asked: dict[str, str | None] = {
        "FleetMax": _text(wanted.fleet_max),
        "InstanceTypes": ",".join(wanted.instance_types or ()) or None,
        "OnDemandShare": _text(wanted.on_demand_share),
        "LatencyGoal": _text(wanted.latency_goal_s),
        "BudgetPerHour": _text(wanted.budget_per_hour),
        "Front": wanted.front,
        "CertificateArn": wanted.certificate,
        "HostName": wanted.host_name,
        "Models": ",".join(wanted.models or ()) or None,
        "Aim": wanted.aim,
        "AlarmEmail": wanted.alarm_email,
    }
    if exposure:
        asked |= {"ExposeCidr": exposure.cidr, "Reach": "vpc" if exposure.is_internal else "internet"}
    if network:
        asked |= {
            "VpcId": network.vpc,
            "WorkerSubnets": ",".join(network.worker_subnets),
            "WebSubnets": ",".join(network.web_subnets),
            "ProxyCidrs": ",".join(network.web_cidrs),
            "PublicAddresses": "yes" if network.has_public_addresses else "no",
            "RouteTables": ",".join(network.route_tables),
        }
    if image:
        source = "stock" if image.is_stock else "given"
        asked |= {"ImageId": image.id, "RootDevice": image.root_device, "ImageSource": source}
    parameters = {**_DEFAULTS, **before, **{key: value for key, value in asked.items() if value is not None}}
    parameters |= {
        "Prices": ",".join(f"{name}={price:g}" for name, price in sorted(prices.items())) or "none",
        "StartScript": script,
        "WebInstances": "2" if parameters["Front"] == "balancer" else "1",
        "OldestMessageSeconds": str(
            math.ceil(max(60.0, float(parameters["LatencyGoal"]) + _STARTUPS_IN_ALARM * _STARTUP_S))
        ),
    }
    _check(parameters, before)
    return parameters


_DEFAULTS: Mapping[str, str] = {
    "FleetMax": "20",
    "InstanceTypes": ",".join(INSTANCE_TYPES),
    "OnDemandShare": "0",
    "LatencyGoal": "30",
    "BudgetPerHour": "none",
    "Front": "instance",
    "CertificateArn": "",
    "HostName": "",
    "Models": "efficientnet-lite0",
    "WebInstanceType": WEB_TYPE,
    "Keys": "on",
    "Aim": "steady",
    "AlarmEmail": "",
}


def _text(value: float | None) -> str | None:
    if value is None:
        return None
    return "none" if value == math.inf else f"{value:g}"


def _check(parameters: Mapping[str, str], before: Mapping[str, str]) -> None:
    exposure = Exposure(parameters["ExposeCidr"], parameters["Reach"] == "vpc")
    problems = [
        f"{option} cannot change in place, because clients would lose the address, and a failure could not "
        "bring it back; make another deployment with it, beside this one, and then destroy this one"
        for key, option in _FIXED.items()
        if before and before.get(key, parameters[key]) != parameters[key]
    ]
    if parameters["CertificateArn"] and parameters["Front"] != "balancer":
        problems.append("--certificate needs --front balancer, because the balancer is what speaks TLS")
    if parameters["HostName"] and not parameters["CertificateArn"]:
        problems.append("--host-name needs --certificate, whose name it is")
    if exposure.is_public and not parameters["CertificateArn"]:
        problems.append(
            "--expose public, as any network wider than a /8, needs TLS for its API keys: give "
            "--front balancer and --certificate ARN"
        )
    if problems:
        raise ConfigError(problems)
