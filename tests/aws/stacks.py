"""Stacks of the template of a deployment, on an emulator."""

import secrets
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any

from aws.emulators import Emulator
from beholder.deploy.bundle import Bundle
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from helpers.cloudformation import PARAMETERS, template_text

__all__ = ["Stack", "change_stack", "make_stack", "network"]

_WAIT_S = 30.0


def network(aws: Emulator) -> dict[str, str]:
    """Return the template's parameters for the emulator's default VPC and one of its images."""
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"] if one["VpcId"] == vpc][:2]
    tables = ec2.describe_route_tables()["RouteTables"]
    return {
        "VpcId": vpc,
        "WorkerSubnets": ",".join(subnets),
        "WebSubnets": ",".join(subnets),
        "RouteTables": tables[0]["RouteTableId"],
        "ImageId": ec2.describe_images()["Images"][0]["ImageId"],
    }


def make_stack(client: Any, aws: Emulator, name: str, **parameters: str) -> Mapping[str, Any]:
    """Make a stack through a change set and return its description, once it is complete."""
    return change_stack(client, aws, name, kind="CREATE", **parameters)


def change_stack(
    client: Any, aws: Emulator, name: str, *, kind: str = "UPDATE", **parameters: str
) -> Mapping[str, Any]:
    """Change a stack through a change set and return its description, once it is complete."""
    given = {**PARAMETERS, **network(aws), **parameters}
    which = {"StackName": name, "ChangeSetName": f"change-{time.monotonic_ns()}"}
    client.create_change_set(
        **which,
        ChangeSetType=kind,
        TemplateBody=template_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Tags=[{"Key": DEPLOYMENT_TAG, "Value": name}],
    )
    _await(lambda: client.describe_change_set(**which), "Status", "CREATE_COMPLETE")
    client.execute_change_set(**which)
    return _await(
        lambda: client.describe_stacks(StackName=name)["Stacks"][0], "StackStatus", f"{kind}_COMPLETE"
    )


def _await(describe: Any, member: str, wanted: str) -> Mapping[str, Any]:
    deadline_s = time.monotonic() + _WAIT_S
    while (found := describe())[member] != wanted:
        assert time.monotonic() < deadline_s, found
        assert "FAILED" not in found[member], found
        time.sleep(0.05)
    return found


class Stack:
    """A stack with its bundle uploaded, and no web instance yet.

    Args:
        moto: Where it is.
        bundle: What its instances fetch.
        parameters: Of the template, beside those of the smallest deployment.
    """

    def __init__(self, moto: Emulator, bundle: Bundle, **parameters: str) -> None:
        self.moto, self.name = moto, f"zoo-{secrets.token_hex(4)}"
        ec2 = moto.client("ec2")
        (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        subnets = ",".join(one["SubnetId"] for one in found[:2])
        script = (resources.files("beholder.deploy") / "user_data.sh").read_text("utf-8")
        given = {
            "VpcId": vpc["VpcId"],
            "WorkerSubnets": subnets,
            "WebSubnets": subnets,
            "ImageId": "ami-0123456789abcdef0",
            "InstanceTypes": "c7a.large,c6a.large",
            "ExposeCidr": "192.0.2.7/32",
            "FleetMax": "1",
            "BundleKey": bundle.key,
            "BundleSha256": bundle.sha256,
            "Keys": "open",
            # A nonce, because the harness finds an instance's template by its user data.
            "StartScript": f"# {self.name}\n{script}",
        } | parameters
        cloudformation = moto.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.name,
            TemplateBody=template_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": one} for key, one in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": DEPLOYMENT_TAG, "Value": self.name}],
        )
        (described,) = cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
        moto.client("s3").upload_file(str(bundle.path), self.outputs["BundleBucket"], bundle.key)

    def set_web_instances(self, count: int) -> None:
        """Let the Auto Scaling group launch or terminate; moto does it at once."""
        self.moto.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=self.outputs["WebGroup"], DesiredCapacity=count
        )

    def address_of(self) -> str:
        """Return the instance that has the Elastic IP, empty while none has it."""
        (address,) = self.moto.client("ec2").describe_addresses(PublicIps=[self.outputs["ElasticIp"]])[
            "Addresses"
        ]
        return str(address.get("InstanceId", ""))

    def has_output(self, key: str) -> bool:
        """Say whether the output bucket has an object."""
        listed = self.moto.client("s3").list_objects_v2(Bucket=self.outputs["OutputBucket"], Prefix=key)
        return bool(listed["KeyCount"])

    def read_output(self, key: str) -> str:
        """Return an object of the output bucket."""
        found = self.moto.client("s3").get_object(Bucket=self.outputs["OutputBucket"], Key=key)
        return str(found["Body"].read().decode())
