"""The template is made, changed and deleted on emulators: what it declares is there, is tagged, and goes."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from aws.stacks import change_stack, make_stack
from beholder.deploy.account import Account
from beholder.deploy.inventory import bucket_names, find_all
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from helpers.cloudformation import Rendered

pytestmark = pytest.mark.aws

FRONTS: dict[str, dict[str, str]] = {
    "instance": {"RouteTables": "rtb-0a"},
    "balancer": {"RouteTables": "rtb-0a", "Front": "balancer"},
}
# Types whose resources an emulator makes without telling their names, or not at all.
UNKNOWN = {
    "moto": {
        "AWS::S3::BucketPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::CloudWatch::Alarm",
        "AWS::Logs::MetricFilter",
    },
    "ministack": {"AWS::EC2::EIP", "AWS::IAM::Policy"},
}


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    aws = emulator(request.param)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    return aws


@pytest.fixture
def name(aws: Emulator) -> Iterator[str]:
    name = f"zoo-{secrets.token_hex(4)}"
    yield name
    aws.client("cloudformation").delete_stack(StackName=name)


def made(aws: Emulator, name: str) -> dict[str, str]:
    """Return what the emulator says that the stack has: physical ids by logical ids."""
    told = aws.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    return {
        one["LogicalResourceId"]: one["PhysicalResourceId"] for one in told if one.get("LogicalResourceId")
    }


def declared(aws: Emulator, **parameters: str) -> set[str]:
    """Return the logical ids that the stack must have."""
    rendered = Rendered(parameters).resources
    return {key for key, one in rendered.items() if one["Type"] not in UNKNOWN[aws.name]}


def tags_by_service(aws: Emulator, name: str) -> dict[str, list[Mapping[str, str]]]:
    """Return the tags of what has the deployment's names, as each service tells them."""
    ec2, iam, sqs = aws.client("ec2"), aws.client("iam"), aws.client("sqs")
    groups = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[f"{name}-web"])
    roles = [f"{name}-{REGION}-{role}" for role in ("web", "worker")]
    urls = sqs.list_queues(QueueNamePrefix=f"{name}-")["QueueUrls"]
    templates = ec2.describe_launch_templates(LaunchTemplateNames=[f"{name}-web", f"{name}-worker"])
    return {
        "groups": [pairs(one["Tags"]) for one in groups["AutoScalingGroups"]],
        "queues": [sqs.list_queue_tags(QueueUrl=url)["Tags"] for url in urls],
        "roles": [pairs(iam.get_role(RoleName=role)["Role"]["Tags"]) for role in roles],
        "templates": [pairs(one["Tags"]) for one in templates["LaunchTemplates"]],
    }


def pairs(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in tags}


@pytest.mark.parametrize("front", FRONTS)
def test_everything_declared_is_made_with_the_tag(aws: Emulator, name: str, front: str) -> None:
    make_stack(aws.client("cloudformation"), aws, name, Front=front)

    found = made(aws, name)
    assert declared(aws, **FRONTS[front]) <= set(found)
    buckets = {found[one] for one in ("InputBucket", "OutputBucket", "BundleBucket")}
    assert buckets == set(bucket_names(Account(REGION), name))
    for service, tags in tags_by_service(aws, name).items():
        assert [one.get(DEPLOYMENT_TAG) for one in tags] == [name] * len(tags), service
        assert tags, service


def test_an_update_changes_what_differs_and_nothing_else(aws: Emulator, name: str) -> None:
    client, ec2 = aws.client("cloudformation"), aws.client("ec2")
    make_stack(client, aws, name)
    before = made(aws, name)

    def latest() -> dict[str, int]:
        told = ec2.describe_launch_templates(LaunchTemplateNames=[f"{name}-web", f"{name}-worker"])
        return {one["LaunchTemplateName"]: one["LatestVersionNumber"] for one in told["LaunchTemplates"]}

    # a setting of the web tier alone, then a bundle, which both have
    for parameters, versions in (
        ({"FleetMax": "7"}, (2, 1)),
        ({"FleetMax": "7", "BundleSha256": "b" * 64}, (3, 2)),
    ):
        change_stack(client, aws, name, **parameters)
        assert made(aws, name) == before
        assert latest() == {f"{name}-web": versions[0], f"{name}-worker": versions[1]}


def test_a_change_of_the_front_adds_and_removes_only_the_front(aws: Emulator, name: str) -> None:
    client = aws.client("cloudformation")
    make_stack(client, aws, name)
    before = made(aws, name)

    change_stack(client, aws, name, Front="balancer")

    after = made(aws, name)
    assert set(after) - set(before) == {"Balancer", "BalancerSecurityGroup", "Listener", "TargetGroup"}
    assert set(before) - set(after) <= {"Address", "AddressPolicy"}
    kept = set(before) & set(after) - {"WebSecurityGroup"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}


def test_a_delete_leaves_the_buckets_with_their_objects_and_nothing_else(aws: Emulator, name: str) -> None:
    aws.unlike_aws("ministack", "it deletes a bucket that the template retains, with its objects")
    make_stack(aws.client("cloudformation"), aws, name)
    account = Account(REGION)
    for bucket in bucket_names(account, name):
        aws.client("s3").put_object(Bucket=bucket, Key="results/a", Body=b"a")

    aws.client("cloudformation").delete_stack(StackName=name)

    assert [(one.kind, one.id) for one in find_all(account, name)] == [
        ("bucket", one) for one in bucket_names(account, name)
    ]
