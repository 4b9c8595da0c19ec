"""Stacks of the template of a deployment, on an emulator."""

import time
from collections.abc import Mapping
from typing import Any

from aws.emulators import Emulator
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from helpers.cloudformation import PARAMETERS, template_text

__all__ = ["change_stack", "make_stack", "network"]

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
