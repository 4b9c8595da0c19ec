"""What an emulator knows of its instances, made whole from their launch templates.

moto's CreateFleet hands on the user data, the type, the image and the tags of a launch template and drops the
rest: the instance profile, the shutdown behaviour, the metadata options. Nor does it set the tags
`aws:ec2launchtemplate:id` and `:version`, as EC2 does; so the template is found by its user data. Where
several have the same, the newest counts.
"""

import base64
from typing import Any

import boto3
from botocore.config import Config

from aws.emulators import CREDENTIALS, REGION
from ec2.imds import Instance

# Source: EC2 API reference, DescribeLaunchTemplates, 2026-11.
_PAGE_MAX = 200
_THERE = ["pending", "running", "shutting-down", "stopping", "stopped"]


class Launches:
    """Reads instances, and ends them, by the EC2 API of an emulator.

    Args:
        endpoint: Such as 'http://127.0.0.1:5000'.
        roles: Endpoint of the emulator that has the instances' roles.
    """

    def __init__(self, endpoint: str, roles: str) -> None:
        keys = {name.lower(): value for name, value in CREDENTIALS.items()}
        config = Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=30)
        self._ec2, self._iam, self._sts = (
            boto3.client(service, region_name=REGION, endpoint_url=one, config=config, **keys)
            for service, one in (("ec2", endpoint), ("iam", roles), ("sts", roles))
        )
        self._account_id = ""
        self._versions: dict[tuple[str, int], dict[str, Any]] = {}

    def close(self) -> None:
        for client in (self._ec2, self._iam, self._sts):
            client.close()

    def described(self) -> dict[str, dict[str, Any]]:
        """Return every instance of the account by its id, as DescribeInstances tells it; no terminated one.

        moto tells of those for ever, and takes 3 ms for each.
        """
        there = [{"Name": "instance-state-name", "Values": _THERE}]
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=there)
        return {
            one["InstanceId"]: one
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        }

    def instance(self, described: dict[str, Any]) -> Instance:
        """Return what one instance was launched with."""
        instance_id = described["InstanceId"]
        user_data = self._attribute(instance_id, "userData", "UserData")
        template = self._template_of(user_data)
        behavior = "InstanceInitiatedShutdownBehavior"
        options = template.get("MetadataOptions") or described.get("MetadataOptions") or {}
        role = self._role(template.get("IamInstanceProfile") or described.get("IamInstanceProfile") or {})
        return Instance(
            instance_id=instance_id,
            instance_type=described["InstanceType"],
            image_id=described.get("ImageId", ""),
            zone=described.get("Placement", {}).get("AvailabilityZone", f"{REGION}a"),
            region=REGION,
            account_id=self._account(),
            private_ip=described.get("PrivateIpAddress", ""),
            life_cycle=described.get("InstanceLifecycle", "on-demand"),
            tags={tag["Key"]: tag["Value"] for tag in described.get("Tags", [])},
            user_data=base64.b64decode(user_data),
            shutdown_behavior=template.get(behavior)
            or self._attribute(instance_id, "instanceInitiatedShutdownBehavior", behavior)
            or "stop",
            needs_token=options.get("HttpTokens", "required") == "required",
            shows_tags=options.get("InstanceMetadataTags") == "enabled",
            role_name=role.get("RoleName", ""),
            role_arn=role.get("Arn", ""),
        )

    def assume_role(self, arn: str, session: str) -> dict[str, Any]:
        given: dict[str, Any] = self._sts.assume_role(RoleArn=arn, RoleSessionName=session)["Credentials"]
        return given

    def source_of(self, image_id: str) -> str:
        """Return the instance that an image was made of; empty where it was made of none."""
        images = self._ec2.describe_images(ImageIds=[image_id])["Images"]
        return str(images[0].get("SourceInstanceId") or "") if images else ""

    def terminate(self, instance_id: str) -> None:
        self._ec2.terminate_instances(InstanceIds=[instance_id])

    def stop(self, instance_id: str) -> None:
        self._ec2.stop_instances(InstanceIds=[instance_id])

    def _attribute(self, instance_id: str, name: str, key: str) -> str:
        told = self._ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=name)
        return str(told.get(key, {}).get("Value") or "")

    def _account(self) -> str:
        if not self._account_id:
            self._account_id = self._sts.get_caller_identity()["Account"]
        return self._account_id

    def _role(self, profile: dict[str, str]) -> dict[str, Any]:
        name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
        if not name:
            return {}
        roles = self._iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        return next(iter(roles), {})

    def _template_of(self, user_data: str) -> dict[str, Any]:
        """Return the data of the newest launch template with this user data, empty where there is none."""
        if not user_data:
            return {}
        paginator = self._ec2.get_paginator("describe_launch_templates")
        # moto tells of fifteen where nothing is asked for, and gives no token for the rest.
        pages = paginator.paginate(PaginationConfig={"PageSize": _PAGE_MAX})
        templates = [one for page in pages for one in page["LaunchTemplates"]]
        templates.sort(key=lambda one: one["CreateTime"], reverse=True)
        for one in templates:
            for number in range(one["LatestVersionNumber"], 0, -1):
                data = self._version(one["LaunchTemplateId"], number)
                if data.get("UserData") == user_data:
                    return data
        return {}

    def _version(self, template_id: str, number: int) -> dict[str, Any]:
        # A version never changes once it is made; a deleted one is told as no version at all.
        if (template_id, number) not in self._versions:
            told = self._ec2.describe_launch_template_versions(
                LaunchTemplateId=template_id, Versions=[str(number)]
            )["LaunchTemplateVersions"]
            self._versions[template_id, number] = told[0]["LaunchTemplateData"] if told else {}
        return self._versions[template_id, number]
