"""The deployer's policy allows what CloudFormation does on the deployer's behalf, and nothing else."""

import functools
import json
from typing import Any

import pytest

from beholder.deploy.deployer_policy import deployer_policy
from helpers.aws_calls import asked, rights_of
from helpers.cloudformation import Rendered, schema_of
from helpers.iam import actions_of, is_allowed, is_granted, known_actions, listed, matches

REGION, ACCOUNT = "us-east-1", "123456789012"
# Of a managed policy, white space not counted; and of the inline policies of a role together.
# Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (2026-11)
POLICY_CHARS_MAX = 6_144
ROLE_CHARS_MAX = 10_240
LONGEST = {"name": "a" * 27, "account": ACCOUNT, "region": "us-gov-west-1", "partition": "aws-us-gov"}

# What the handlers of CloudFormation's resource types may call, and this template cannot make them call.
NOT_NEEDED = {
    "autoscaling:*LifecycleHook": "the group has no lifecycle hooks",
    "autoscaling:*InstanceRefresh": "the group has no update policy",
    "autoscaling:*LoadBalancers": "they are classic balancers",
    "autoscaling:*MetricsCollection": "the group has no metrics of its own",
    "autoscaling:*NotificationConfiguration": "the group notifies nobody",
    "autoscaling:*Processes": "the group suspends no process",
    # Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide,
    # page ec2-auto-scaling-launch-template-permissions (2026-11)
    "ec2:Describe*": "Auto Scaling's documentation asks for RunInstances, CreateTags and PassRole alone",
    "ec2:Get*": "Auto Scaling gets types from requirements, which the group has not",
    "ec2:AcceptAddressTransfer": "the Elastic IP is a new one",
    "ec2:DescribeIpamPools": "the balancer's addresses are AWS's",
    "elasticloadbalancing:*gisterTargets": "Auto Scaling registers its instances itself",
    "elasticloadbalancing:ModifyCapacityReservation": "the balancer reserves no capacity",
    "elasticloadbalancing:ModifyIpPools": "the balancer's addresses are AWS's",
    "elasticloadbalancing:SetIpAddressType": "the balancer keeps its type of addresses",
    "cognito-idp:*": "the listener authenticates nobody",
    "firehose:*": "the log group delivers nowhere",
    "iam:*GroupPolicy": "the policies are of roles",
    "iam:*UserPolicy": "the policies are of roles",
    "iam:*RolePermissionsBoundary": "the roles have no boundary",
    "iam:AttachRolePolicy": "the roles have no managed policies",
    "iam:ListInstanceProfiles": "CloudFormation lists only for its own inventory of accounts",
    "iam:ListRoles": "CloudFormation lists only for its own inventory of accounts",
    "iam:UpdateRoleDescription": "the roles have no description",
    "sns:ListTopics": "CloudFormation lists only for its own inventory of accounts",
    "sns:PutDataProtectionPolicy": "the topic has none",
    "logs:*BearerTokenAuthentication": "the log group takes no bearer tokens",
    "logs:*DataProtectionPolicy": "the log group has none; it is granted to look",
    "logs:*IndexPolicy": "the log group has none",
    "logs:*KmsKey": "the key is AWS's",
    "logs:*LogDelivery": "the log group delivers nowhere",
    "logs:*ResourcePolicy": "the log group has none",
    "logs:PutLogGroupDeletionProtection": "the log group is not protected",
    "logs:DeleteRetentionPolicy": "the log group always has one",
    "managed-fleets:*": "the group is no managed fleet",
    "s3:*Abac": "tags of buckets decide no rights here",
    "s3:*AccelerateConfiguration": "no bucket has it",
    "s3:*AnalyticsConfiguration": "no bucket has it",
    "s3:*CORS": "no bucket has it",
    "s3:*Cors": "no bucket has it",
    "s3:*IntelligentTieringConfiguration": "no bucket has it",
    "s3:*InventoryConfiguration": "no bucket has it",
    "s3:*Metadata*Table*": "no bucket has metadata tables",
    "s3:*MetricsConfiguration": "no bucket has it",
    "s3:*ObjectLockConfiguration": "no bucket has it",
    "s3:*Replication*": "no bucket has it",
    "s3:*Website": "no bucket has it",
    "s3:DeleteBucket*": "a bucket always has its encryption and lifecycle, and is kept when the stack goes",
    "s3:PutBucketAcl": "no bucket has ACLs",
    "s3:PutBucketLogging": "no bucket has it",
    "s3:PutBucketOwnershipControls": "no bucket has it",
    "s3:PutBucketVersioning": "no bucket has it",
    "s3:PutObjectAcl": "no bucket has ACLs",
    "s3:REST.PUT.OBJECT": "the log group delivers nowhere",
    "s3tables:*": "no bucket has metadata tables",
    "ssm:Get*": "the template names its image by id",
    "vpc-lattice:*": "the target group is a balancer's, the endpoint is a gateway",
    "vpce:AllowMultiRegion": "the endpoint is of its own region",
}
# What neither a handler nor the source asks for by this name.
ALSO_NEEDED = {
    # Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide,
    # page elb-api-permissions (2026-11)
    "ec2:DescribeAccountAttributes": "CreateLoadBalancer calls it",
    "ec2:DescribeInternetGateways": "CreateLoadBalancer and CreateTargetGroup call it",
    "cloudformation:TagResource": "CreateChangeSet has tags",
    "cloudformation:UntagResource": "a later template may have fewer",
    "ec2:DescribeTags": "in the tagging part of the handlers",
    "s3:AbortMultipartUpload": "an upload of a bundle that fails",
    "s3:DeleteObject": "keys, and `destroy --delete-data`",
    "s3:GetObject": "keys, and what instances report",
    "s3:PutObject": "keys and bundles",
    "s3:Get*Configuration": "handlers read what a bucket has",
    "s3:GetBucket*": "handlers read what a bucket has",
    "s3:ListBucket*": "handlers and `destroy` list objects and versions",
    "autoscaling:Attach*": "handlers attach the target group by one of two calls",
    "autoscaling:Detach*": "as they attach it",
    "elasticloadbalancing:Modify*": "handlers, five of them; a policy has not the room for their names",
    "autoscaling:Describe*": "in the handlers by this pattern",
    "elasticloadbalancing:Describe*": "in the handlers by this pattern",
}


@functools.cache
def granted() -> list[dict[str, Any]]:
    policies = deployer_policy("zoo", ACCOUNT, REGION, "aws").values()
    return [one for document in policies for one in document["Statement"]]


def types() -> list[str]:
    return sorted({one["Type"] for one in Rendered().template["Resources"].values()})


@functools.cache
def handled(resource_type: str) -> set[str]:
    """Return the actions that the handlers of a resource type may call."""
    return {action for one in schema_of(resource_type)["handlers"].values() for action in one["permissions"]}


@pytest.mark.parametrize("resource_type", types())
def test_what_cloudformation_does_is_allowed_or_cannot_be_needed(resource_type: str) -> None:
    lacking = [one for one in handled(resource_type) if not is_granted(granted(), one)]
    assert [one for one in lacking if not any(matches(one, pattern) for pattern in NOT_NEEDED)] == []


def test_every_reason_has_an_action() -> None:
    actions = {action for one in types() for action in handled(one)}
    assert [one for one in NOT_NEEDED if not any(matches(action, one) for action in actions)] == []


def test_nothing_is_granted_that_nothing_needs() -> None:
    needed = {action.lower() for one in types() for action in handled(one)}
    needed |= {right.lower() for call in asked() for right in rights_of(*call)}
    needed |= {one.lower() for one in ALSO_NEEDED}
    assert [one for one in actions_of(granted()) if one.lower() not in needed] == []


def misplaced(statement: dict[str, Any]) -> list[str]:
    """Return the actions of a statement that IAM does not know, or not for one of its resources."""
    arns = listed(statement["Resource"])
    found = []
    for action in actions_of([statement]):
        named = [one for one in known_actions() if matches(one, action.lower())]
        kinds = {kind for one in named for kind in known_actions()[one]}
        # Both have wildcards: one of them, as a text, must be of the other as a pattern.
        if not any(matches(arn, kind) or matches(kind, arn) for arn in arns for kind in kinds):
            found.append(action)
    return found


@pytest.mark.parametrize("statement", granted(), ids=lambda one: str(one["Sid"]))
def test_every_action_exists_and_its_resource_is_of_its_kind(statement: dict[str, Any]) -> None:
    assert misplaced(statement) in ([], ["ssm:GetParameter"])  # public parameters have no account


@pytest.mark.parametrize("role", ["WebRole", "WorkerRole"])
def test_every_action_of_a_role_exists_and_its_resource_is_of_its_kind(role: str) -> None:
    assert [one for statement in Rendered().statements(role) for one in misplaced(statement)] == []


@pytest.mark.parametrize("statement", granted(), ids=lambda one: str(one["Sid"]))
def test_what_changes_something_is_bounded(statement: dict[str, Any]) -> None:
    if "*" in listed(statement["Resource"]) and "Condition" not in statement:
        reads = ("Describe", "Get", "List")
        assert all(one.partition(":")[2].startswith(reads) for one in actions_of([statement]))


def test_a_policy_is_within_what_iam_takes() -> None:
    sizes = [len(json.dumps(one, separators=(",", ":"))) for one in deployer_policy(**LONGEST).values()]
    assert max(sizes) <= POLICY_CHARS_MAX
    assert sum(sizes) <= ROLE_CHARS_MAX


def test_every_placeholder_is_filled_and_every_arn_is_of_the_partition() -> None:
    policies = deployer_policy("zoo", ACCOUNT, "cn-north-1", "aws-cn")
    assert list(policies) == ["zoo-deploy-compute", "zoo-deploy-data"]
    text = json.dumps(policies)
    assert "${" not in text
    assert "arn:aws:" not in text


def test_no_other_deployment_is_within_reach() -> None:
    statements = granted()
    for action, arn in (
        ("s3:DeleteBucket", f"arn:aws:s3:::zoo-2-{ACCOUNT}-{REGION}-input"),
        ("sqs:DeleteQueue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:zoo-2-input-queue"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/zoo-2-{REGION}-web"),
    ):
        assert not is_allowed(statements, action, {arn: {}})
        assert is_allowed(statements, action, {arn.replace("zoo-2", "zoo"): {}})
