"""What a deployment makes in an account before it can launch instances, made on an emulator.

moto differs from EC2: it honours neither ClientToken, nor MinTargetCapacity of CreateFleet; a test of either
needs another double.
"""

import base64
import functools
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aws.emulators import Emulator

_TYPES = ("t3.small", "t3a.small")
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


class Account:
    """A role, an instance profile and launch templates on an emulator.

    Args:
        emulator: moto; ministack launches nothing.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._ec2 = emulator.client("ec2")
        self._iam = emulator.client("iam")
        self.profile = ""

    def make_template(
        self, user_data: str, *, tags: Mapping[str, str] | None = None, shutdown_behavior: str = "terminate"
    ) -> str:
        """Return the id of a new launch template.

        Args:
            user_data: As it is to run. The harness finds a template by it: make no two that differ in
                something else.
            tags: Of the instances.
            shutdown_behavior: 'terminate' or 'stop': what a shutdown from within does.
        """
        if not self.profile:
            self.profile = self._make_profile()
        data: dict[str, Any] = {
            "ImageId": _image(self._ec2),
            "InstanceType": _TYPES[0],
            "UserData": base64.b64encode(user_data.encode()).decode(),
            "IamInstanceProfile": {"Name": self.profile},
            "InstanceInitiatedShutdownBehavior": shutdown_behavior,
            "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        }
        if tags:
            data["TagSpecifications"] = [{"ResourceType": "instance", "Tags": _tag_list(tags)}]
        made = self._ec2.create_launch_template(LaunchTemplateName=_name("fleet"), LaunchTemplateData=data)
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def create_fleet(
        self, template: str, count: int, *, spot: bool = False, tags: Mapping[str, str] | None = None
    ) -> list[str]:
        """Launch instances by one CreateFleet of type 'instant'; returns their ids."""
        kind = "spot" if spot else "on-demand"
        specification = {"LaunchTemplateId": template, "Version": "$Latest"}
        asked: dict[str, Any] = {
            "Type": "instant",
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": specification,
                    "Overrides": [{"InstanceType": one} for one in _TYPES],
                }
            ],
            "TargetCapacitySpecification": {"TotalTargetCapacity": count, "DefaultTargetCapacityType": kind},
        }
        if tags:
            asked["TagSpecifications"] = [{"ResourceType": "instance", "Tags": _tag_list(tags)}]
        made = self._ec2.create_fleet(**asked)
        return [instance_id for one in made["Instances"] for instance_id in one["InstanceIds"]]

    def states(self, instance_ids: Sequence[str]) -> dict[str, str]:
        """Return the state of each instance, such as 'running'."""
        pages = self._ec2.get_paginator("describe_instances").paginate(InstanceIds=list(instance_ids))
        return {
            one["InstanceId"]: one["State"]["Name"]
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        }

    def terminate(self, instance_ids: Sequence[str]) -> None:
        self._ec2.terminate_instances(InstanceIds=list(instance_ids))

    def _make_profile(self) -> str:
        name = _name("worker")
        self._iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))
        self._iam.create_instance_profile(InstanceProfileName=name)
        self._iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name


@functools.cache
def _image(ec2: Any) -> str:
    """Return the id of some image; moto takes a second to tell of all that it has."""
    return str(ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"])


def _name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
