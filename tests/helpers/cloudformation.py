"""The template of a deployment, with its functions worked out as CloudFormation does."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

__all__ = ["PARAMETERS", "PSEUDO", "Rendered", "schema_of", "template_text"]

# What a deployer fills in, for an account that nobody has.
PARAMETERS: Mapping[str, str] = {
    "VpcId": "vpc-0a",
    "WorkerSubnets": "subnet-0a,subnet-0b",
    "WebSubnets": "subnet-0a,subnet-0b",
    "ImageId": "ami-0123456789abcdef0",
    "InstanceTypes": "c7a.large,c6a.large",
    "ExposeCidr": "192.0.2.7/32",
    "BundleKey": f"{'a' * 64}.tar.zst",
    "BundleSha256": "a" * 64,
    "StartScript": "true",
}
PSEUDO: Mapping[str, str] = {
    "AWS::StackName": "zoo",
    "AWS::AccountId": "123456789012",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_NOTHING = object()


def schema_of(resource_type: str) -> Mapping[str, Any]:
    """Return what CloudFormation's registry says of a resource type."""
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # noqa: PLC0415 -- a second, in every process that collects

    schema: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource_type).schema
    return schema


def template_text() -> str:
    return (resources.files("beholder.deploy") / "template.yaml").read_text("utf-8")


class _Loader(yaml.SafeLoader):
    """Reads the short forms of functions as their long forms."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


@functools.cache
def _template() -> dict[str, Any]:
    read: dict[str, Any] = yaml.load(template_text(), _Loader)  # noqa: S506 -- a SafeLoader
    return read


@dataclass
class Rendered:
    """A stack of the template: its resources and outputs without functions, where their conditions hold.

    Args:
        parameters: Beside those of `PARAMETERS`.
        pseudo: Beside those of `PSEUDO`.
        ids: What Ref gives of a resource, by its logical name; and GetAtt, by `Name.Attribute`.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    pseudo: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.template = _template()
        self._values: dict[str, Any] = {**PSEUDO, **self.pseudo}
        given = {**PARAMETERS, **self.parameters}
        for name, declared in self.template["Parameters"].items():
            text = given[name] if name in given else str(declared["Default"])
            is_list = declared["Type"].startswith(("List", "Comma"))
            self._values[name] = text.split(",") if is_list else text
        self.resources: dict[str, dict[str, Any]] = {
            name: self._work_out(one)
            for name, one in self.template["Resources"].items()
            if self._is_there(one)
        }
        self.outputs: dict[str, str] = {
            name: self._work_out(one["Value"])
            for name, one in self.template["Outputs"].items()
            if self._is_there(one)
        }

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type."""
        return {
            name: one["Properties"] for name, one in self.resources.items() if one["Type"] == resource_type
        }

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Return what a role may do."""
        policies = list(self.resources[role]["Properties"]["Policies"])
        policies += [
            one
            for one in self.of_type("AWS::IAM::Policy").values()
            if self.resources[role]["Properties"]["RoleName"] in one["Roles"]
        ]
        return [statement for one in policies for statement in one["PolicyDocument"]["Statement"]]

    def user_data(self, template: str) -> str:
        return str(self.resources[template]["Properties"]["LaunchTemplateData"]["UserData"])

    def _is_there(self, one: Mapping[str, Any]) -> bool:
        return "Condition" not in one or self._holds({"Condition": one["Condition"]})

    def _holds(self, condition: Any) -> bool:
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._holds(self.template["Conditions"][argument])
        if name == "Fn::Equals":
            left, right = (self._work_out(one) for one in argument)
            return str(left) == str(right)
        if name == "Fn::Not":
            return not self._holds(argument[0])
        assert name == "Fn::Or"
        return any(self._holds(one) for one in argument)

    def _work_out(self, value: Any) -> Any:
        if isinstance(value, list):
            return [found for one in value if (found := self._work_out(one)) is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        return {name: found for name, one in value.items() if (found := self._work_out(one)) is not _NOTHING}

    def _call(self, function: str, argument: Any) -> Any:  # noqa: PLR0911 -- one for each function
        if function == "Ref":
            return _NOTHING if argument == "AWS::NoValue" else self._ref(argument)
        if function == "GetAtt":
            return self._attribute(*argument)
        if function == "If":
            return self._work_out(argument[1] if self._holds({"Condition": argument[0]}) else argument[2])
        if function == "Sub":
            text, more = argument if isinstance(argument, list) else (argument, {})
            return re.sub(r"\$\{([\w:.]+)\}", lambda found: str(self._named(found[1], more)), text)
        given = self._work_out(argument)
        if function == "Join":
            return given[0].join(given[1])
        if function == "Select":
            return given[1][int(given[0])]
        assert function == "Base64", function
        return given

    def _named(self, name: str, more: Mapping[str, Any]) -> Any:
        if name in more:
            return self._work_out(more[name])
        return self._attribute(*name.split(".", 1)) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self.ids:
            return self.ids[name]
        properties = self.template["Resources"][name]["Properties"]
        own = ("BucketName", "RoleName", "InstanceProfileName", "LogGroupName", "AutoScalingGroupName")
        named = next((properties[one] for one in own if one in properties), f"id-of-{name}")
        return self._work_out(named)

    def _attribute(self, name: str, attribute: str) -> str:
        if f"{name}.{attribute}" in self.ids:
            return self.ids[f"{name}.{attribute}"]
        one, partition = self.template["Resources"][name], self._values["AWS::Partition"]
        here = f"{self._values['AWS::Region']}:{self._values['AWS::AccountId']}"
        account = self._values["AWS::AccountId"]
        queue = self._work_out(one["Properties"].get("QueueName", ""))
        return {
            ("AWS::S3::Bucket", "Arn"): f"arn:{partition}:s3:::{self._ref(name)}",
            ("AWS::SQS::Queue", "Arn"): f"arn:{partition}:sqs:{here}:{queue}",
            ("AWS::SQS::Queue", "QueueName"): queue,
            ("AWS::IAM::Role", "Arn"): f"arn:{partition}:iam::{account}:role/{self._ref(name)}",
            ("AWS::Logs::LogGroup", "Arn"): f"arn:{partition}:logs:{here}:log-group:{self._ref(name)}:*",
        }.get((one["Type"], attribute), f"{attribute}-of-{name}")
