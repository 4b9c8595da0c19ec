"""Makes an image that has the bundle in place, so that instances start without fetching and unpacking."""

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.stack import Stack
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendError, DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["Bake"]

# An image of 8 GiB takes EC2 minutes; the instance itself powers off after 15 in any case.
_WAIT_S_MAX = 1800.0
# First line of the here-document with the settings; `start.sh` bakes if it finds the line before it.
_ROLE, _BAKE = "\nROLE=worker\n", "\nBAKE=yes\nROLE=worker\n"
# What the instance has otherwise than a worker.
_OTHERWISE = ("InstanceInitiatedShutdownBehavior", "TagSpecifications", "UserData")
_NO_OBJECT = ("NoSuchKey", "404")


class Bake:
    """Bakes the image of one deployment.

    Whatever happens, the instance on which it is made is terminated, and an image that did not become
    available is deregistered.

    Args:
        account: The account and region of the deployment.
        name: The deployment's name.
        waiting: Waits for EC2, and tells of the progress.
    """

    def __init__(self, account: Account, name: str, waiting: Waiting) -> None:
        self._account = account
        self._name = name
        self._waiting = waiting

    def run(self) -> str:
        """Return the id of a new image, which is available.

        Raises:
            DeployError: There is no such deployment, the start on the instance failed, or EC2 made no image.
            ConfigError: The stack of this name is not beholder's.
            BackendError: A service refuses a call, or does not answer.
        """
        stack = Stack(self._account, self._name)
        if stack.describe() is None:
            raise DeployError(f"there is no deployment {self._name} in {self._account.region}")
        data = self._template()
        script = base64.b64decode(data.get("UserData", "")).decode()
        if _ROLE not in script or "BUNDLE_SHA256=\n" in script:
            raise DeployError(f"the workers' launch template of {self._name} names no bundle; deploy first")
        subnets = stack.outputs().get("Subnets", "").split(",")
        instance = self._launch(_in_subnet(data, subnets[0]), script.replace(_ROLE, _BAKE, 1))
        try:
            done = f"{instance} has put the bundle in place"
            self._wait(done, lambda: self._state(instance), "stopped", ("shutting-down", "terminated"))
            self._check(instance, _setting(script, "BEHOLDER_OUTPUT_BUCKET"))
            return self._image(instance, data["ImageId"], _setting(script, "BUNDLE_SHA256"))
        finally:
            self._account.call("ec2", "terminate_instances", InstanceIds=[instance])

    def _template(self) -> Mapping[str, Any]:
        versions = self._account.call(
            "ec2",
            "describe_launch_template_versions",
            LaunchTemplateName=f"{self._name}-worker",
            Versions=["$Latest"],
        )
        data: Mapping[str, Any] = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data

    def _launch(self, data: Mapping[str, Any], script: str) -> str:
        tags = [{"Key": DEPLOYMENT_TAG, "Value": self._name}, {"Key": "Name", "Value": f"{self._name}-bake"}]
        launched = self._account.call(
            "ec2",
            "run_instances",
            **{key: value for key, value in data.items() if key not in _OTHERWISE},
            MinCount=1,
            MaxCount=1,
            InstanceInitiatedShutdownBehavior="stop",
            UserData=script,
            TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        )
        return str(launched["Instances"][0]["InstanceId"])

    def _state(self, instance: str) -> str:
        told = self._account.call("ec2", "describe_instances", InstanceIds=[instance])
        return str(told["Reservations"][0]["Instances"][0]["State"]["Name"])

    def _check(self, instance: str, bucket: str) -> None:
        """Raise `DeployError` unless the instance has told that the bundle is in place."""
        if self._read(bucket, f"fleet/startups/{instance}.json"):
            return
        told = self._read(bucket, f"fleet/failed-starts/{instance}").partition("\n")[0]
        reason = told or f"{instance} stopped without telling why; its console may"
        raise DeployError(f"the bundle could not be put in place: {reason}")

    def _read(self, bucket: str, key: str) -> str:
        found = self._account.call("s3", "get_object", expected=_NO_OBJECT, Bucket=bucket, Key=key)
        return found["Body"].read().decode(errors="replace") if "Body" in found else ""

    def _image(self, instance: str, base: str, sha256: str) -> str:
        tags = [
            {"Key": DEPLOYMENT_TAG, "Value": self._name},
            {"Key": "beholder:bundle", "Value": sha256},
            {"Key": "beholder:base", "Value": base},
        ]
        made = self._account.call(
            "ec2",
            "create_image",
            InstanceId=instance,
            Name=f"{self._name}-{sha256[:12]}-{instance}",
            TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
        )
        image = str(made["ImageId"])
        try:
            done = f"EC2 has made the image {image}"
            self._wait(
                done, lambda: self._described(image)["State"], "available", ("failed", "error", "invalid")
            )
        except BaseException:
            with suppress(BackendError):
                self._remove(image)
            raise
        return image

    def _described(self, image: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self._account.call("ec2", "describe_images", ImageIds=[image])[
            "Images"
        ][0]
        return described

    def _snapshots(self, image: str) -> list[str]:
        disks = self._described(image).get("BlockDeviceMappings", [])
        return [str(disk["Ebs"]["SnapshotId"]) for disk in disks if "SnapshotId" in disk.get("Ebs", {})]

    def _remove(self, image: str) -> None:
        snapshots = self._snapshots(image)
        self._account.call("ec2", "deregister_image", ImageId=image)
        for snapshot in snapshots:
            self._account.call("ec2", "delete_snapshot", SnapshotId=snapshot)

    def _wait(self, done: str, state: Callable[[], str], wanted: str, failed: tuple[str, ...]) -> None:
        found = ""

        def has_ended() -> bool:
            nonlocal found
            found = state()
            return found == wanted or found in failed

        self._waiting.until(done, has_ended, most_s=_WAIT_S_MAX)
        if found != wanted:
            raise DeployError(f"EC2 says {found} where {wanted} was expected")


def _in_subnet(data: Mapping[str, Any], subnet: str) -> Mapping[str, Any]:
    """Return a template's data with a subnet, or else EC2 looks for the default VPC's."""
    interfaces = [one | {"SubnetId": subnet} for one in data.get("NetworkInterfaces", ())]
    return {**data, "NetworkInterfaces": interfaces} if subnet and interfaces else data


def _setting(script: str, name: str) -> str:
    """Return what the script gives a setting."""
    return script.partition(f"\n{name}=")[2].partition("\n")[0]
