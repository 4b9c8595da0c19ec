"""The fleet on Amazon EC2: instances by CreateFleet of type instant, from the operator's launch template.

An instant fleet launches at once, answers with the launched instances and an error for each pool that it
could not use, and does nothing afterwards: unlike an Auto Scaling group, it does not replace an instance that
ends. The template defines a worker's instance; only types, subnets and tags come from here.
"""

import logging
import math
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beholder.fleet.ec2_client import Ec2Client
from beholder.fleet.ec2_refusals import FALLS_BACK, REFUSALS, sentences
from beholder.fleet.port import FleetInstance, Launch
from beholder.fleet.template import InstanceTemplate
from beholder.telemetry.log import log_event

__all__ = ["DEPLOYMENT_TAG", "LAUNCH_TAG", "Ec2Fleet"]

_log = logging.getLogger(__name__)

DEPLOYMENT_TAG = "beholder:deployment"
LAUNCH_TAG = "beholder:launch"
# Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html: a request has up
# to 200 values of a filter (Using_Filtering.html, 2026-11).
_IDS_ASKED = 200
_LAUNCHES_KEPT = 200
_THERE = ("pending", "running", "shutting-down", "stopping", "stopped")
_AT_WORK = ("pending", "running")
_GONE = ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")


class Ec2Fleet:
    """The instances of one deployment on EC2, known by a tag; see the `Fleet` port for its methods.

    Permissions: `ec2:DescribeInstances`; `ec2:CreateFleet`, and with it `ec2:RunInstances` on template,
    image, subnets, security groups, volumes and interfaces, `ec2:CreateTags` if the action that creates is
    CreateFleet or RunInstances, `iam:PassRole` of the template's instance role; `ec2:TerminateInstances` if
    the resource has the tag `beholder:deployment`. An account that never used spot or fleets needs their
    service-linked roles once.

    Three things keep a token from launching twice: this process remembers the answer, EC2 remembers the
    client token, and the instances carry the token as a tag, for which `launch` looks first.

    Args:
        client: Calls EC2.
        deployment: The deployment's prefix, which is the value of the tag.
        template: The instances to launch.
    """

    def __init__(self, client: Ec2Client, deployment: str, template: InstanceTemplate) -> None:
        self._client = client
        self._deployment = deployment
        self._template = template
        self._lock = threading.Lock()
        self._launches: dict[str, Launch] = {}

    def describe(self) -> list[FleetInstance]:
        """Return every instance of the deployment; see `Fleet.describe`.

        A stopped instance counts as ending: nothing starts it again, and its volume costs money.
        """
        found = self._client.instances("describe", self._own() | {"instance-state-name": _THERE})
        return [self._seen(instance) for instance in found]

    def launch(self, *, count: int, token: str) -> Launch:
        """Launch instances; see `Fleet.launch`.

        If there is no spot capacity, on-demand instances are launched at once instead.
        """
        # One launch at a time: a second launch with the same token waits for the answer to the first.
        with self._lock:
            if token not in self._launches:
                found = self._client.instances("launch", self._own() | {f"tag:{LAUNCH_TAG}": [token]})
                known = tuple(str(instance["InstanceId"]) for instance in found)
                self._remember(token, Launch(known) if known else self._create(count, token))
            return self._launches[token]

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances; see `Fleet.terminate`."""
        for start in range(0, len(ids), _IDS_ASKED):
            asked = {"instance-id": ids[start : start + _IDS_ASKED], "instance-state-name": _THERE}
            found = self._client.instances("terminate", self._own() | asked)
            self._terminate([str(instance["InstanceId"]) for instance in found])

    def _own(self) -> dict[str, Sequence[str]]:
        # A deployment's web instances carry its tag too; the tag of a launch distinguishes the workers.
        return {f"tag:{DEPLOYMENT_TAG}": [self._deployment], "tag-key": [LAUNCH_TAG]}

    def _seen(self, instance: Mapping[str, Any]) -> FleetInstance:
        instance_type = str(instance.get("InstanceType", ""))
        spot = instance.get("InstanceLifecycle") == "spot"
        return FleetInstance(
            id=str(instance["InstanceId"]),
            launched_at_s=instance["LaunchTime"].timestamp(),
            instance_type=instance_type,
            spot=spot,
            price_per_hour=self._template.price_per_hour(instance_type, spot=spot),
            is_ending=instance["State"]["Name"] not in _AT_WORK,
        )

    def _remember(self, token: str, launch: Launch) -> None:
        self._launches[token] = launch
        if len(self._launches) > _LAUNCHES_KEPT:
            del self._launches[next(iter(self._launches))]

    def _create(self, count: int, token: str) -> Launch:
        on_demand = _on_demand_of(count, self._template.on_demand_share, token)
        answer = self._create_fleet(token, token, spot=count - on_demand, on_demand=on_demand)
        ids, errors = _ids_of(answer), list(answer.get("Errors", []))
        spot_missing = count - on_demand - len(_ids_of(answer, "spot"))
        if spot_missing > 0 and any(error.get("ErrorCode") in FALLS_BACK for error in errors):
            log_event(
                _log,
                logging.WARNING,
                "fleet.fallback",
                "there is no spot capacity; on-demand instances are launched instead",
                count=spot_missing,
                why="; ".join(sentences(errors)),
            )
            # A token of its own: to EC2 the same token with other parameters is an error (runs-on#251).
            instead = self._create_fleet(f"{token}-od", token, spot=0, on_demand=spot_missing)
            ids += _ids_of(instead)
            errors += instead.get("Errors", [])
        # Errors of some pools do not matter if other pools gave enough.
        return Launch(ids, sentences(errors) if len(ids) < count else ())

    def _create_fleet(self, client_token: str, token: str, *, spot: int, on_demand: int) -> Mapping[str, Any]:
        tags = {DEPLOYMENT_TAG: self._deployment, LAUNCH_TAG: token, "Name": f"{self._deployment}-worker"}
        return self._client.call(
            "launch",
            "create_fleet",
            expected=REFUSALS,
            Type="instant",
            ClientToken=client_token,
            LaunchTemplateConfigs=[self._config()],
            TargetCapacitySpecification={
                "TotalTargetCapacity": spot + on_demand,
                "OnDemandTargetCapacity": on_demand,
                "SpotTargetCapacity": spot,
                "DefaultTargetCapacityType": "spot" if spot else "on-demand",
            },
            SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
            OnDemandOptions={"AllocationStrategy": "lowest-price"},
            TagSpecifications=[
                {
                    "ResourceType": instance_type,
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
                for instance_type in ("instance", "fleet", "volume")
            ],
        )

    def _config(self) -> dict[str, Any]:
        template = self._template
        name = template.launch_template
        by = "LaunchTemplateId" if name.startswith("lt-") else "LaunchTemplateName"
        instance_types: Iterable[dict[str, str]] = [
            {"InstanceType": name} for name in template.instance_types
        ] or [{}]
        zones: Iterable[dict[str, str]] = [{"SubnetId": subnet} for subnet in template.subnets] or [{}]
        overrides = [instance_type | zone for instance_type in instance_types for zone in zones]
        config: dict[str, Any] = {
            "LaunchTemplateSpecification": {by: name, "Version": template.launch_template_version}
        }
        return config | ({"Overrides": overrides} if overrides != [{}] else {})

    def _terminate(self, ids: list[str]) -> None:
        """End instances; if any of them is gone meanwhile, EC2 ends none, so each is ended alone."""
        if not ids:
            return
        answer = self._client.call("terminate", "terminate_instances", expected=_GONE, InstanceIds=ids)
        if answer.get("Errors") and len(ids) > 1:
            for instance_id in ids:
                self._terminate([instance_id])


def _on_demand_of(count: int, share: float, token: str) -> int:
    """Return how many instances of a launch are on-demand: its share; the token decides how to round it.

    EC2 refuses a token that comes again with another number, so the result depends neither on chance nor on
    the present instances.
    """
    exact = count * share
    whole = math.floor(exact)
    return whole + (zlib.crc32(token.encode()) / 2**32 < exact - whole)


def _ids_of(answer: Mapping[str, Any], lifecycle: str | None = None) -> tuple[str, ...]:
    return tuple(
        str(instance_id)
        for group in answer.get("Instances", [])
        if lifecycle is None or group.get("Lifecycle") == lifecycle
        for instance_id in group.get("InstanceIds", [])
    )
