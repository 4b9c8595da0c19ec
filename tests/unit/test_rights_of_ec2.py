"""What roles and deployers may do on EC2; no emulator knows its conditions, so a helper evaluates them."""

from collections.abc import Mapping
from typing import Any

import pytest

from beholder.deploy.deployer_policy import deployer_policy
from beholder.fleet.ec2 import DEPLOYMENT_TAG, LAUNCH_TAG
from helpers.cloudformation import Rendered
from helpers.iam import is_allowed

REGION, ACCOUNT = "us-east-1", "123456789012"
Keys = Mapping[str, str]
Resources = Mapping[str, Keys]


def arn(kind: str, resource_id: str = "0a", account: str = ACCOUNT) -> str:
    return f"arn:aws:ec2:{REGION}:{account}:{kind}/{resource_id}"


TEMPLATE = arn("launch-template", "id-of-WorkerTemplate")
GROUP = arn("security-group", "GroupId-of-WorkerSecurityGroup")
IMAGE = arn("image", "ami-0a", account="")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/zoo-{REGION}-worker"
EC2 = "ec2.amazonaws.com"


def has(deployment: str = "zoo", *, is_worker: bool = True) -> Keys:
    """Return the keys of a resource that carries tags."""
    launch = {f"aws:ResourceTag/{LAUNCH_TAG}": "a"} if is_worker else {}
    return {f"aws:ResourceTag/{DEPLOYMENT_TAG}": deployment, **launch}


def gets(deployment: str = "zoo", **keys: str) -> Keys:
    """Return the keys of a resource that is made with the tag, or gets it."""
    return {f"aws:RequestTag/{DEPLOYMENT_TAG}": deployment, **keys}


def from_template(template: str = TEMPLATE, *, is_of_it: bool = True) -> Keys:
    return {"ec2:LaunchTemplate": template, "ec2:IsLaunchTemplateResource": str(is_of_it).lower()}


def launched(**others: Keys) -> Resources:
    """Return the resources of a launch from the workers' template, with the keys of some changed."""
    plain = {
        TEMPLATE: from_template(),
        GROUP: from_template(),
        IMAGE: from_template(),
        arn("subnet"): from_template(is_of_it=False),
        arn("network-interface", "*"): from_template(),
        arn("instance", "*"): {
            **from_template(is_of_it=False),
            "ec2:InstanceType": "c6a.large",
            "ec2:MetadataHttpTokens": "required",
        },
        arn("volume", "*"): from_template(),
        arn("spot-instances-request", "*"): from_template(),
    }
    return {key: others.get(key.split(":")[5].split("/")[0], keys) for key, keys in plain.items()}


def baked(group: Keys, tags: Keys) -> Resources:
    """Return the resources of a launch without a template."""
    bare: Keys = {}
    return {
        IMAGE: bare,
        arn("subnet"): bare,
        arn("network-interface", "*"): bare,
        arn("security-group"): group,
        arn("instance", "*"): tags,
        arn("volume", "*"): tags,
    }


def of_service(service: str) -> Resources:
    role = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}.amazonaws.com/a"
    return {role: {"iam:AWSServiceName": f"{service}.amazonaws.com"}}


def statements(who: str) -> list[dict[str, Any]]:
    if who != "deployer":
        return Rendered().statements({"web": "WebRole", "worker": "WorkerRole"}[who])
    policies = deployer_policy("zoo", ACCOUNT, REGION, "aws").values()
    return [one for document in policies for one in document["Statement"]]


def tagging(kind: str, **keys: str) -> Resources:
    return {arn(kind): gets(**keys)}


ALLOWED: list[tuple[str, str, str, Resources]] = [
    ("web", "launches from the template", "ec2:RunInstances", launched()),
    ("web", "launches a fleet from the template", "ec2:CreateFleet", {**launched(), arn("fleet", "*"): {}}),
    (
        "web",
        "tags what it launches",
        "ec2:CreateTags",
        tagging("instance", **{"ec2:CreateAction": "CreateFleet"}),
    ),
    ("web", "ends a worker", "ec2:TerminateInstances", {arn("instance"): has()}),
    ("web", "passes the workers' role", "iam:PassRole", {ROLE: {"iam:PassedToService": EC2}}),
    (
        "web",
        "takes the Elastic IP",
        "ec2:AssociateAddress",
        {arn("elastic-ip", "AllocationId-of-Address"): has(), arn("instance"): has(is_worker=False)},
    ),
    (
        "deployer",
        "makes a security group",
        "ec2:CreateSecurityGroup",
        {arn("security-group", "*"): gets(), arn("vpc"): {}},
    ),
    (
        "deployer",
        "makes a launch template",
        "ec2:CreateLaunchTemplate",
        {arn("launch-template", "*"): gets()},
    ),
    (
        "deployer",
        "makes an endpoint",
        "ec2:CreateVpcEndpoint",
        {arn("vpc-endpoint", "*"): gets(), arn("vpc"): {}, arn("route-table"): {}},
    ),
    (
        "deployer",
        "tags what it makes",
        "ec2:CreateTags",
        tagging("elastic-ip", **{"ec2:CreateAction": "AllocateAddress"}),
    ),
    (
        "deployer",
        "lets a group launch",
        "ec2:RunInstances",
        {**launched(), GROUP: has(), TEMPLATE: has(), arn("instance", "*"): {}, arn("volume", "*"): {}}
        | {arn("spot-instances-request", "*"): has()},
    ),
    ("deployer", "launches to bake", "ec2:RunInstances", baked(has(), gets())),
    (
        "deployer",
        "bakes an image",
        "ec2:CreateImage",
        {arn("instance"): has(), arn("image", "*", ""): gets(), arn("snapshot", "*", ""): gets()},
    ),
    (
        "deployer",
        "tags the snapshot with the image",
        "ec2:CreateTags",
        {arn("snapshot", "*", ""): gets(**{"ec2:CreateAction": "CreateImage"})},
    ),
    (
        "deployer",
        "opens a port",
        "ec2:AuthorizeSecurityGroupIngress",
        {arn("security-group"): has(), arn("security-group-rule", "*"): {}},
    ),
    ("deployer", "ends an instance", "ec2:TerminateInstances", {arn("instance"): has()}),
    (
        "deployer",
        "moves the Elastic IP",
        "ec2:AssociateAddress",
        {arn("elastic-ip"): has(), arn("instance"): has()},
    ),
    ("deployer", "passes a role", "iam:PassRole", {ROLE: {"iam:PassedToService": EC2}}),
    ("deployer", "makes spot's role", "iam:CreateServiceLinkedRole", of_service("spot")),
]

REFUSED: list[tuple[str, str, str, Resources]] = [
    ("web", "launches without a template", "ec2:RunInstances", {key: {} for key in launched()}),
    ("web", "makes an instance without a template", "ec2:RunInstances", {arn("instance", "*"): {}}),
    (
        "web",
        "launches another template",
        "ec2:RunInstances",
        {
            arn("launch-template") if key == TEMPLATE else key: from_template(arn("launch-template"))
            for key in launched()
        },
    ),
    (
        "web",
        "launches a type that is not the deployment's",
        "ec2:RunInstances",
        launched(instance={**launched()[arn("instance", "*")], "ec2:InstanceType": "p5.48xlarge"}),
    ),
    (
        "web",
        "launches an instance that gives its role's credentials without a token",
        "ec2:RunInstances",
        launched(instance={**launched()[arn("instance", "*")], "ec2:MetadataHttpTokens": "optional"}),
    ),
    (
        "web",
        "launches a type of the deployment from another template",
        "ec2:RunInstances",
        launched(instance={**launched()[arn("instance", "*")], **from_template(arn("launch-template"))}),
    ),
    ("web", "launches a volume without a template", "ec2:RunInstances", {arn("volume", "*"): {}}),
    ("web", "launches another image", "ec2:RunInstances", launched(image=from_template(is_of_it=False))),
    (
        "web",
        "launches with another security group",
        "ec2:RunInstances",
        {**launched(), arn("security-group"): from_template()},
    ),
    (
        "web",
        "launches with a key pair",
        "ec2:RunInstances",
        {**launched(), arn("key-pair"): from_template(is_of_it=False)},
    ),
    ("web", "launches a fleet of another template", "ec2:CreateFleet", {arn("launch-template"): {}}),
    (
        "web",
        "passes its own role",
        "iam:PassRole",
        {ROLE.replace("worker", "web"): {"iam:PassedToService": EC2}},
    ),
    (
        "web",
        "passes another role",
        "iam:PassRole",
        {f"arn:aws:iam::{ACCOUNT}:role/admin": {"iam:PassedToService": EC2}},
    ),
    (
        "web",
        "passes the role to another service",
        "iam:PassRole",
        {ROLE: {"iam:PassedToService": "lambda.amazonaws.com"}},
    ),
    ("web", "ends another deployment's worker", "ec2:TerminateInstances", {arn("instance"): has("zoo-2")}),
    ("web", "ends a web instance", "ec2:TerminateInstances", {arn("instance"): has(is_worker=False)}),
    ("web", "ends an instance without tags", "ec2:TerminateInstances", {arn("instance"): {}}),
    ("web", "tags a running instance", "ec2:CreateTags", tagging("instance")),
    (
        "web",
        "tags for another deployment",
        "ec2:CreateTags",
        {arn("instance"): gets("zoo-2", **{"ec2:CreateAction": "RunInstances"})},
    ),
    (
        "web",
        "takes another address",
        "ec2:AssociateAddress",
        {arn("elastic-ip"): has(), arn("instance"): has()},
    ),
    (
        "web",
        "gives the address away",
        "ec2:AssociateAddress",
        {arn("elastic-ip", "AllocationId-of-Address"): has(), arn("instance"): has("zoo-2")},
    ),
    ("web", "changes the template", "ec2:CreateLaunchTemplateVersion", {TEMPLATE: has()}),
    ("web", "opens a port", "ec2:AuthorizeSecurityGroupIngress", {GROUP: has()}),
    ("web", "reads user data", "ec2:DescribeInstanceAttribute", {arn("instance"): has()}),
    ("worker", "launches from the template", "ec2:RunInstances", launched()),
    ("worker", "ends itself by the API", "ec2:TerminateInstances", {arn("instance"): has()}),
    ("worker", "passes its role", "iam:PassRole", {ROLE: {"iam:PassedToService": EC2}}),
    ("deployer", "launches without the deployment's group", "ec2:RunInstances", baked({}, gets())),
    ("deployer", "launches in another deployment's group", "ec2:RunInstances", baked(has("zoo-2"), gets())),
    ("deployer", "launches for another deployment", "ec2:RunInstances", baked(has(), gets("zoo-2"))),
    (
        "deployer",
        "ends another deployment's instance",
        "ec2:TerminateInstances",
        {arn("instance"): has("zoo-2")},
    ),
    ("deployer", "ends an instance without tags", "ec2:TerminateInstances", {arn("instance"): {}}),
    (
        "deployer",
        "makes a group without the tag",
        "ec2:CreateSecurityGroup",
        {arn("security-group", "*"): {}, arn("vpc"): {}},
    ),
    (
        "deployer",
        "opens another's port",
        "ec2:AuthorizeSecurityGroupIngress",
        {arn("security-group"): {}, arn("security-group-rule", "*"): {}},
    ),
    (
        "deployer",
        "changes a subnet's endpoint of another",
        "ec2:ModifyVpcEndpoint",
        {arn("vpc-endpoint"): has("zoo-2"), arn("route-table"): {}},
    ),
    ("deployer", "takes another's volume by tagging it", "ec2:CreateTags", tagging("volume")),
    (
        "deployer",
        "takes another's snapshot by tagging it",
        "ec2:CreateTags",
        {arn("snapshot", account=""): gets()},
    ),
    ("deployer", "deletes another's snapshot", "ec2:DeleteSnapshot", {arn("snapshot", account=""): {}}),
    ("deployer", "deregisters another's image", "ec2:DeregisterImage", {IMAGE: {}}),
    (
        "deployer",
        "images another's disk",
        "ec2:CreateImage",
        {arn("instance"): has("zoo-2"), arn("image", "*", ""): gets(), arn("snapshot", "*", ""): gets()},
    ),
    ("deployer", "releases another's address", "ec2:ReleaseAddress", {arn("elastic-ip"): {}}),
    (
        "deployer",
        "changes another's template",
        "ec2:CreateLaunchTemplateVersion",
        {arn("launch-template"): has("zoo-2")},
    ),
    ("deployer", "reads another's console", "ec2:GetConsoleOutput", {arn("instance"): has("zoo-2")}),
    (
        "deployer",
        "reads another's user data",
        "ec2:DescribeInstanceAttribute",
        {arn("instance"): has("zoo-2")},
    ),
    (
        "deployer",
        "passes another role",
        "iam:PassRole",
        {f"arn:aws:iam::{ACCOUNT}:role/admin": {"iam:PassedToService": EC2}},
    ),
    (
        "deployer",
        "passes a role to another service",
        "iam:PassRole",
        {ROLE: {"iam:PassedToService": "lambda.amazonaws.com"}},
    ),
    ("deployer", "makes another service's role", "iam:CreateServiceLinkedRole", of_service("support")),
]


def ids(cases: list[tuple[str, str, str, Resources]]) -> list[str]:
    return [f"{who} {what}" for who, what, _, _ in cases]


@pytest.mark.parametrize(("who", "what", "action", "on"), ALLOWED, ids=ids(ALLOWED))
def test_what_must_work_is_allowed(who: str, what: str, action: str, on: Resources) -> None:
    del what
    assert [one for one, keys in on.items() if not is_allowed(statements(who), action, {one: keys})] == []


@pytest.mark.parametrize(("who", "what", "action", "on"), REFUSED, ids=ids(REFUSED))
def test_what_must_not_be_done_is_refused(who: str, what: str, action: str, on: Resources) -> None:
    del what
    assert not is_allowed(statements(who), action, on)


CONDITIONED = [
    (who, number)
    for who in ("web", "worker", "deployer")
    for number, one in enumerate(statements(who))
    if "Condition" in one
]


@pytest.mark.parametrize(("who", "number"), CONDITIONED)
def test_every_condition_refuses_one_of_these(who: str, number: int) -> None:
    wider = statements(who)
    wider[number] = {key: value for key, value in wider[number].items() if key != "Condition"}
    cases = [(action, on) for one, _, action, on in REFUSED if one == who]
    assert any(is_allowed(wider, action, on) for action, on in cases), statements(who)[number]
