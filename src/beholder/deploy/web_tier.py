"""The web tier of a deployment: which instances it has, whether they are ready, and their replacement."""

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.waiting import Waiting
from beholder.errors import DeployError
from beholder.fleet.startup import STARTUPS_PREFIX

__all__ = ["WebInstance", "WebTier"]

FAILED_STARTS_PREFIX = "fleet/failed-starts/"
_NO_OBJECT = ("NoSuchKey", "404", "403", "AccessDenied")
# A stock image takes half a minute; an instance type without capacity in a zone takes longer.
_READY_S_MAX = 900.0
# A start that hangs ends after 15 minutes, with its instance.
_START_S_MAX = 1200.0
# A ready instance takes a free address within seconds; EC2 frees the address of one that ends in minutes.
_ADDRESS_S_MAX = 300.0
# What the network takes to lead a moved address elsewhere, and most requests to be answered.
_MOVE_S = 15.0


@dataclass(frozen=True)
class WebInstance:
    """An instance of the web tier.

    Args:
        id: Its id.
        version: The version of the launch template that it runs.
        state: The group's word for where it is in its life, such as 'InService'.
    """

    id: str
    version: str
    state: str


class WebTier:
    """The Auto Scaling group of the web instances.

    Args:
        account: Where it is.
        outputs: Of the stack.
        waiting: Waits and tells progress.
    """

    def __init__(self, account: Account, outputs: Mapping[str, str], waiting: Waiting) -> None:
        self._account = account
        self._group = outputs["WebGroup"]
        self._bucket = outputs["OutputBucket"]
        self._targets = outputs.get("TargetGroup", "")
        self._elastic_ip = outputs.get("ElasticIp", "")
        self._waiting = waiting

    def url(self, outputs: Mapping[str, str]) -> str:
        """Return where the web tier answers: by the stack, or by the private address of its newest instance.

        Raises:
            DeployError: It has no instance.
            BackendError: EC2 does not answer, or refuses.
        """
        if outputs.get("Url"):
            return outputs["Url"]
        new, old = self._split()
        if not (new or old):
            raise DeployError(f"the Auto Scaling group {self._group} has no instance yet")
        told = self._account.call("ec2", "describe_instances", InstanceIds=[(*new, *old)[0].id])
        return f"http://{told['Reservations'][0]['Instances'][0]['PrivateIpAddress']}:8080"

    def instances(self) -> list[WebInstance]:
        """Return the instances that are there or come.

        Raises:
            BackendError: Auto Scaling does not answer, or refuses.
        """
        return [
            WebInstance(
                one["InstanceId"],
                str(one.get("LaunchTemplate", {}).get("Version", "")),
                one["LifecycleState"],
            )
            for one in self._described().get("Instances", [])
            if not one["LifecycleState"].startswith("Terminat")
        ]

    def has_any_ready(self) -> bool:
        """Say whether an instance serves, of whatever version.

        Raises:
            DeployError: The group was deleted.
            BackendError: A service does not answer, or refuses.
        """
        return bool(self._ready(self.instances()))

    def older_bundle(self) -> str:
        """Return the key of the bundle of a ready instance of an older version; empty where there is none.

        Raises:
            DeployError: The group was deleted.
            BackendError: A service does not answer, or refuses.
        """
        _, old = self._split()
        template = self._described()["LaunchTemplate"]["LaunchTemplateId"] if old else ""
        for one in self._ready(old):
            told = self._account.call(
                "ec2",
                "describe_launch_template_versions",
                LaunchTemplateId=template,
                Versions=[one.version],
            )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
            script = base64.b64decode(told.get("UserData", "")).decode(errors="replace")
            return script.partition("\nBUNDLE=")[2].partition("\n")[0].rpartition("/")[2]
        return ""

    def replace(self, count: int, check: Callable[[str], None]) -> None:
        """Bring the tier to `count` instances of the newest version; an old one goes when a new one is ready.

        Args:
            count: Instances wanted.
            check: Called once, when a new instance is ready and the old ones are still there; what it raises
                ends the replacement. It gets the URL of that instance alone where clients do not reach it
                yet, else an empty text.

        Raises:
            DeployError: An instance does not start.
            BackendError: A service does not answer, or refuses.
        """
        seen: set[str] = set()
        is_checked = False
        while True:
            new, old = self._split()
            ready = self._ready(new)
            if ready and not is_checked:
                self._prove(ready[0], {one.id for one in old}, check)
                is_checked = True
            if len(ready) >= count:
                break
            if ready and old:
                self._end(old.pop())
            # One more than wanted at a time, which is the group's highest size.
            there = len(new) + len(old)
            self.set_size(min(count, there) + 1 if len(new) < count else there)
            if not self._waiting.until(
                "a web instance is ready",
                partial(self._has_ready, len(ready) + 1, seen),
                most_s=_READY_S_MAX,
            ):
                raise DeployError(
                    f"no web instance was ready within {_READY_S_MAX:.0f} seconds, and none said why; "
                    "see the console of the newest instance of the Auto Scaling group " + self._group
                )
        for one in (*old, *ready[count:]):
            self._end(one)

    def end_new(self) -> None:
        """Take the newest version's instances away again, and give the old ones the address back.

        Raises:
            BackendError: A service does not answer, or refuses.
        """
        new, old = self._split()
        if self._elastic_ip and old and self._holder() not in {one.id for one in old}:
            self._move_address(old[0].id)
        for one in new:
            self._end(one)

    # --- the address -------------------------------------------------------------------------------------

    def _prove(self, new: WebInstance, old: Collection[str], check: Callable[[str], None]) -> None:
        """Check a new instance; only then the address moves to it from an old one.

        An address that no old instance has is taken by the instance itself, as where nobody deploys.
        """
        if not self._elastic_ip:
            check("")
        elif self._holder() in old:
            check(self.own_url(new.id))
            self._waiting.tell(f"{self._elastic_ip} moves to the web instance {new.id}")
            self._move_address(new.id)
            # Until every client is led to the new instance, the old one serves.
            self._waiting.pause(_MOVE_S)
        else:
            self._await_address(new.id)
            check("")

    def _await_address(self, instance: str) -> None:
        def has_address() -> bool:
            self._refuse_failed(instance)
            return self._holder() == instance

        what = f"the web instance {instance} has taken {self._elastic_ip}"
        if not self._waiting.until(what, has_address, most_s=_ADDRESS_S_MAX):
            self._move_address(instance)

    def own_url(self, instance: str) -> str:
        """Return the URL of one instance, whatever address the tier has.

        Raises:
            BackendError: EC2 does not answer, or refuses.
        """
        told = self._account.call("ec2", "describe_instances", InstanceIds=[instance])
        found = told["Reservations"][0]["Instances"][0]
        return f"http://{found.get('PublicIpAddress') or found['PrivateIpAddress']}:8080"

    def _holder(self) -> str:
        """Return the id of the instance that has the Elastic IP; empty where none has."""
        told = self._account.call("ec2", "describe_addresses", PublicIps=[self._elastic_ip])
        return str(told["Addresses"][0].get("InstanceId", ""))

    def _move_address(self, instance: str) -> None:
        told = self._account.call("ec2", "describe_addresses", PublicIps=[self._elastic_ip])
        self._account.call(
            "ec2",
            "associate_address",
            AllocationId=told["Addresses"][0]["AllocationId"],
            InstanceId=instance,
            AllowReassociation=True,
        )

    # --- readiness ---------------------------------------------------------------------------------------

    def _has_ready(self, at_least: int, seen: set[str]) -> bool:
        """Say whether so many instances of the newest version are ready; refuses one that failed to start.

        Args:
            at_least: How many.
            seen: Ids of all that were there in earlier calls: one that fails ends itself.
        """
        new, _ = self._split()
        seen |= {one.id for one in new}
        for instance in sorted(seen):
            self._refuse_failed(instance)
        return len(self._ready(new)) >= at_least

    def _ready(self, instances: Sequence[WebInstance]) -> list[WebInstance]:
        return [one for one in instances if self._is_ready(one)]

    def _is_ready(self, one: WebInstance) -> bool:
        """Say whether an instance serves: it has stored its steps, and the balancer finds it healthy."""
        key = f"{STARTUPS_PREFIX}{one.id}.json"
        if "Errors" in self._account.call(
            "s3", "head_object", expected=_NO_OBJECT, Bucket=self._bucket, Key=key
        ) and not self._is_long_there(one):
            return False
        if not self._targets:
            return True
        health = self._account.call(
            "elbv2", "describe_target_health", TargetGroupArn=self._targets, Targets=[{"Id": one.id}]
        )["TargetHealthDescriptions"]
        return bool(health) and health[0]["TargetHealth"]["State"] == "healthy"

    def _is_long_there(self, one: WebInstance) -> bool:
        """Say whether an instance has outlived any start; its steps are deleted after 30 days."""
        if one.state != "InService":  # EC2 may not know it yet
            return False
        told = self._account.call("ec2", "describe_instances", InstanceIds=[one.id])["Reservations"]
        launched_s = told[0]["Instances"][0]["LaunchTime"].timestamp()
        return bool(self._waiting.now_s() - launched_s > _START_S_MAX)

    def _refuse_failed(self, instance: str) -> None:
        key = f"{FAILED_STARTS_PREFIX}{instance}"
        found = self._account.call("s3", "get_object", expected=_NO_OBJECT, Bucket=self._bucket, Key=key)
        if "Body" in found:
            reason = found["Body"].read().decode(errors="replace").partition("\n")[0]
            raise DeployError(f"the web instance {instance} did not start: {reason}")

    # --- the group ---------------------------------------------------------------------------------------

    def _split(self) -> tuple[list[WebInstance], list[WebInstance]]:
        """Return the instances of the group's version, and those of older ones."""
        version = str(self._described().get("LaunchTemplate", {}).get("Version", ""))
        there = self.instances()
        return [one for one in there if one.version == version], [
            one for one in there if one.version != version
        ]

    def _described(self) -> Mapping[str, Any]:
        groups: Sequence[Mapping[str, Any]] = self._account.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[self._group]
        )["AutoScalingGroups"]
        if not groups:
            raise DeployError(
                f"the Auto Scaling group {self._group} was deleted, and no update makes it again; "
                f"run beholder destroy {self._group.removesuffix('-web')}, then deploy: its data stay"
            )
        return groups[0]

    def set_size(self, size: int) -> None:
        """Set how many instances there should be.

        Raises:
            BackendError: Auto Scaling does not answer, or refuses.
        """
        self._account.call(
            "autoscaling", "set_desired_capacity", AutoScalingGroupName=self._group, DesiredCapacity=size
        )

    def _end(self, one: WebInstance) -> None:
        self._waiting.tell(f"ending the web instance {one.id}")
        self._account.call(
            "autoscaling",
            "terminate_instance_in_auto_scaling_group",
            InstanceId=one.id,
            ShouldDecrementDesiredCapacity=True,
        )
