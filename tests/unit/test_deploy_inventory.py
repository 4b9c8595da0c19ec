"""Whatever a deployment makes, in its stack or beside it, is a kind that destroy looks for."""

from aws.listing import LISTINGS
from beholder.deploy.inventory import KINDS
from helpers.aws_calls import asked, rights_of
from helpers.cloudformation import Rendered
from helpers.iam import actions_of

# What each type of the template is in the inventory, or with what it goes.
TYPES = {
    "AWS::AutoScaling::AutoScalingGroup": "Auto Scaling group",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::EC2::EIP": "Elastic IP",
    "AWS::EC2::LaunchTemplate": "launch template",
    "AWS::EC2::SecurityGroup": "security group",
    "AWS::EC2::VPCEndpoint": "VPC endpoint",
    "AWS::ElasticLoadBalancingV2::Listener": "load balancer",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "load balancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "target group",
    "AWS::IAM::InstanceProfile": "instance profile",
    "AWS::IAM::Policy": "role",
    "AWS::IAM::Role": "role",
    "AWS::Logs::LogGroup": "log group",
    "AWS::Logs::MetricFilter": "log group",
    "AWS::S3::Bucket": "bucket",
    "AWS::S3::BucketPolicy": "bucket",
    "AWS::SNS::Topic": "topic",
    "AWS::SQS::Queue": "queue",
    "AWS::SQS::QueuePolicy": "queue",
}
# What the calls make that commands and processes may make beside the stack.
MADE = {
    "cloudformation:createchangeset": ["stack"],
    # A fleet of type instant is told by its id alone, costs nothing, and EC2 forgets it. Source:
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeFleets.html (2026-11)
    "ec2:createfleet": ["instance", "volume", "network interface"],
    "ec2:createimage": ["image", "snapshot"],
    "ec2:createtags": [],
    "ec2:runinstances": ["instance", "volume", "network interface"],
    # The account keeps spot's role; the plan says so.
    "iam:createservicelinkedrole": [],
    "logs:createlogstream": ["log group"],
    "logs:putlogevents": ["log group"],
    "s3:putobject": ["bucket"],
    "sqs:createqueue": ["queue"],
}
MAKES = ("allocate", "copy", "create", "import", "put", "register", "request", "run")
# These go with a kind of the inventory, and are listed all the same where nothing may be left.
WITH_ANOTHER = {"stack", "listener", "metric filter"}


def test_every_type_of_the_template_is_a_kind_or_goes_with_one() -> None:
    assert {one["Type"] for one in Rendered().template["Resources"].values()} == set(TYPES)
    assert set(TYPES.values()) <= {one.name for one in KINDS}


def test_every_call_that_makes_something_makes_a_kind() -> None:
    rights = {one.lower() for call in asked() for one in rights_of(*call)}
    for role in ("WebRole", "WorkerRole"):
        rights |= {one.lower() for one in actions_of(Rendered().statements(role))}
    assert {one for one in rights if one.partition(":")[2].startswith(MAKES)} == set(MADE)
    kinds = {kind for made in MADE.values() for kind in made}
    assert kinds <= {one.name for one in KINDS} | {"stack"}


def test_every_kind_comes_from_somewhere() -> None:
    made = set(TYPES.values()) | {kind for kinds in MADE.values() for kind in kinds}
    assert {one.name for one in KINDS} <= made


def test_what_the_end_to_end_tests_list_is_every_kind() -> None:
    assert set(LISTINGS) == {one.name for one in KINDS} | WITH_ANOTHER
