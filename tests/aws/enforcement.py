"""Refuses what the deployer's policy does not allow, before an emulator is asked, as IAM would.

moto takes every call. A call's resources are worked out from its parameters, their tags come from moto.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from aws.emulators import REGION, Emulator
from beholder.deploy.account import Account
from beholder.deploy.deployer_policy import deployer_policy
from beholder.errors import BackendDenied
from helpers.aws_calls import rights_of
from helpers.iam import is_allowed, known_actions, matches

__all__ = ["ACCOUNT", "Enforcement"]

ACCOUNT = "123456789012"
_HERE = f"{REGION}:{ACCOUNT}"
# What names a resource, by service and parameter.
_NAMED: Mapping[tuple[str, str], str] = {
    ("s3", "Bucket"): "arn:aws:s3:::{}",
    ("iam", "RoleName"): f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    ("iam", "InstanceProfileName"): f"arn:aws:iam::{ACCOUNT}:instance-profile/{{}}",
    ("cloudformation", "StackName"): f"arn:aws:cloudformation:{_HERE}:stack/{{}}/a",
    ("logs", "logGroupName"): f"arn:aws:logs:{_HERE}:log-group:{{}}",
    ("cloudwatch", "AlarmNames"): f"arn:aws:cloudwatch:{_HERE}:alarm:{{}}",
    (
        "autoscaling",
        "AutoScalingGroupName",
    ): f"arn:aws:autoscaling:{_HERE}:autoScalingGroup:a:autoScalingGroupName/{{}}",
    ("sqs", "QueueName"): f"arn:aws:sqs:{_HERE}:{{}}",
    ("ssm", "Name"): f"arn:aws:ssm:{REGION}::parameter{{}}",
}
_EC2_KINDS = {
    "i": "instance",
    "vol": "volume",
    "snap": "snapshot",
    "ami": "image",
    "lt": "launch-template",
    "sg": "security-group",
    "eni": "network-interface",
    "vpce": "vpc-endpoint",
    "eipalloc": "elastic-ip",
}
# Their ARNs have no account.
_OF_AWS = {"image", "snapshot"}
# What a call makes, beside what its parameters name.
_MADE = {
    "ec2:runinstances": ("instance", "volume", "network-interface", "subnet"),
    "ec2:createimage": ("image", "snapshot"),
}


class Enforcement:
    """Between `Account` and an emulator.

    Args:
        emulator: Knows the tags of EC2's resources.
        name: The deployment whose deployer calls.
    """

    def __init__(self, emulator: Emulator, name: str) -> None:
        policies = deployer_policy(name, ACCOUNT, REGION, "aws").values()
        self._statements = [one for document in policies for one in document["Statement"]]
        self._emulator = emulator
        self._ec2 = emulator.client("ec2")
        self.checked: set[str] = set()
        self.refused: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Check every call of every account from now on."""
        for method in ("call", "pages"):
            monkeypatch.setattr(Account, method, self._checking(getattr(Account, method)))

    def _checking(self, real: Any) -> Any:
        def call(account: Account, service: str, action: str, *rest: str, **parameters: Any) -> Any:
            for right in rights_of(service, action):
                self.check(service, right.lower(), parameters)
            return real(account, service, action, *rest, **parameters)

        return call

    def check(self, service: str, right: str, parameters: Mapping[str, Any]) -> None:
        """Raise `BackendDenied` if the policy does not allow the call."""
        kinds = known_actions()[right]
        on = {
            arn: keys
            for arn, keys in self._resources(service, right, parameters)
            if any(matches(arn, kind) for kind in kinds)
        }
        self.checked.add(right)
        # Where no parameter names a resource, or IAM knows none, the resource is '*'.
        if not is_allowed(self._statements, right, on or {"*": {}}):
            self.refused.append(f"{right} on {sorted(on)}")
            raise BackendDenied(service, right, f"AccessDenied: {sorted(on)}")

    def _resources(
        self, service: str, right: str, parameters: Mapping[str, Any]
    ) -> Iterator[tuple[str, dict[str, str]]]:
        for name, value in parameters.items():
            for one in value if isinstance(value, list) else [value]:
                if (service, name) in _NAMED:
                    yield _NAMED[service, name].format(one), {}
                elif name == "QueueUrl":
                    yield f"arn:aws:sqs:{_HERE}:{one.rpartition('/')[2]}", {}
                elif isinstance(one, str) and one.startswith("arn:"):
                    yield one.replace(":sts:", ":iam:"), {}  # how moto calls the user who calls
        if service == "autoscaling" and "InstanceId" in parameters:
            yield self._group_of(parameters["InstanceId"]), {}
        if "Bucket" in parameters:
            yield f"arn:aws:s3:::{parameters['Bucket']}/{parameters.get('Key', 'a')}", {}
        if service == "ec2" and not right.startswith("ec2:describe"):
            yield from self._of_ec2(right, parameters)

    def _of_ec2(self, right: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
        asked = {f"aws:RequestTag/{one['Key']}": one["Value"] for one in parameters.get("Tags", [])}
        named = str({key: one for key, one in parameters.items() if "Tag" not in key})
        for resource_id in re.findall(rf"'((?:{'|'.join(_EC2_KINDS)})-[0-9a-f]+)'", named):
            yield (
                _arn(_EC2_KINDS[resource_id.partition("-")[0]], resource_id),
                self._tags(resource_id) | asked,
            )
        for kind in _MADE.get(right, ()):
            yield _arn(kind, "*"), _requested(parameters.get("TagSpecifications", []), kind)

    def _tags(self, resource_id: str) -> dict[str, str]:
        found = self._ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource_id]}])["Tags"]
        return {f"aws:ResourceTag/{one['Key']}": one["Value"] for one in found}

    def _group_of(self, instance: str) -> str:
        groups = self._emulator.client("autoscaling")
        (found,) = groups.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
        return _NAMED["autoscaling", "AutoScalingGroupName"].format(found["AutoScalingGroupName"])


def _arn(kind: str, resource_id: str) -> str:
    return f"arn:aws:ec2:{REGION}:{'' if kind in _OF_AWS else ACCOUNT}:{kind}/{resource_id}"


def _requested(specifications: Sequence[Mapping[str, Any]], kind: str) -> dict[str, str]:
    return {
        f"aws:RequestTag/{tag['Key']}": tag["Value"]
        for one in specifications
        if one["ResourceType"] == kind
        for tag in one["Tags"]
    }
