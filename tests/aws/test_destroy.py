"""`beholder destroy` on an emulator: what is the deployment's goes, what is someone else's stays."""

import functools
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from aws.emulators import REGION, Emulator
from beholder.cli.main import beholder
from beholder.clock import ManualClock
from beholder.deploy.account import Account
from beholder.deploy.destroy import Destroy
from beholder.deploy.inventory import KINDS, Found, bucket_names, find_all
from beholder.deploy.stack import Stack
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendDenied, BackendUnavailable, ConfigError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = [pytest.mark.aws, pytest.mark.usefixtures("calls_go_to_moto")]

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
RIGHTS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

# More than there are calls that change something.
RUNS_MAX = 200


@pytest.fixture
def name() -> str:
    return f"zoo-{secrets.token_hex(4)}"


def stack_of(moto: Emulator, name: str, region: str = REGION, **tags: str) -> None:
    """Make a stack with a queue and a bucket that the stack retains."""
    queue = {
        "Type": "AWS::SQS::Queue",
        "Properties": {"QueueName": f"{name}-input-queue", "Tags": [tag(name)]},
    }
    moto.client("cloudformation", region).create_stack(
        StackName=name,
        TemplateBody=json.dumps({"Resources": {"Jobs": queue}}),
        Tags=[{"Key": key, "Value": value} for key, value in (tags or {DEPLOYMENT_TAG: name}).items()],
    )


def tag(name: str) -> dict[str, str]:
    return {"Key": DEPLOYMENT_TAG, "Value": name}


def make_everything(moto: Emulator, name: str) -> None:
    """Make one of each kind but the stack, as a deployment and the running service make them."""
    ec2, tags = moto.client("ec2"), [tag(name)]

    def tagged(kind: str) -> dict[str, Any]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]}

    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"][:2]]
    zone = ec2.describe_subnets()["Subnets"][0]["AvailabilityZone"]
    ec2.create_security_group(
        GroupName=f"{name}-worker", Description="none", VpcId=vpc, **tagged("security-group")
    )
    template = ec2.create_launch_template(
        LaunchTemplateName=f"{name}-web",
        LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"},
        **tagged("launch-template"),
    )["LaunchTemplate"]["LaunchTemplateId"]
    moto.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=f"{name}-web",
        MinSize=1,
        MaxSize=2,
        AvailabilityZones=[zone],
        LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
        Tags=[tag(name) | {"PropagateAtLaunch": True}],
    )
    worker = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **tagged("instance"))
    baked = ec2.create_image(InstanceId=worker["Instances"][0]["InstanceId"], Name=f"{name}-baked")["ImageId"]
    ec2.create_tags(Resources=[baked], Tags=tags)
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, **tagged("volume"))["VolumeId"]
    ec2.create_snapshot(VolumeId=volume, **tagged("snapshot"))
    ec2.create_network_interface(SubnetId=subnets[0], **tagged("network-interface"))
    # An interface endpoint: moto 5.2 fails to delete a gateway endpoint.
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName=f"com.amazonaws.{REGION}.sqs",
        VpcEndpointType="Interface",
        SubnetIds=subnets[:1],
        **tagged("vpc-endpoint"),
    )
    ec2.allocate_address(Domain="vpc", **tagged("elastic-ip"))
    make_balancer(moto, name, subnets, vpc)
    make_data(moto, name)


def make_balancer(moto: Emulator, name: str, subnets: list[str], vpc: str) -> None:
    elb = moto.client("elbv2")
    elb.create_load_balancer(Name=f"{name}-web", Subnets=subnets, Tags=[tag(name)])
    elb.create_target_group(Name=f"{name}-web", Protocol="HTTP", Port=80, VpcId=vpc, Tags=[tag(name)])


def make_data(moto: Emulator, name: str) -> None:
    """Make queues, buckets with objects, roles, alarms and a log group."""
    sqs, s3, iam = moto.client("sqs"), moto.client("s3"), moto.client("iam")
    for queue in (f"{name}-input-queue-dead", f"{name}-output-queue-web-1-0"):
        sqs.create_queue(QueueName=queue, tags={DEPLOYMENT_TAG: name})
    for bucket in bucket_names(here(), name):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [tag(name)]})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for body in (b"old", b"new"):
            s3.put_object(Bucket=bucket, Key="images/1", Body=body)
        s3.delete_object(Bucket=bucket, Key="images/1")
        s3.put_object(Bucket=bucket, Key="images/2", Body=b"")
    for purpose in ("web", "worker"):
        role = f"{name}-{REGION}-{purpose}"
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=[tag(name)])
        iam.put_role_policy(RoleName=role, PolicyName="beholder", PolicyDocument=json.dumps(RIGHTS))
        iam.create_instance_profile(InstanceProfileName=role)
        iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
    moto.client("logs").create_log_group(logGroupName=f"/beholder/{name}", tags={DEPLOYMENT_TAG: name})
    moto.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-dead-letters",
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        Tags=[tag(name)],
    )
    moto.client("sns").create_topic(Name=f"{name}-alarms", Tags=[tag(name)])


def destroyer(name: str) -> Destroy:
    clock = ManualClock()
    return Destroy(here(), name, Waiting(clock, clock.advance, lambda _: None))


@functools.cache
def here() -> Account:
    """Return the account in the region of most tests; to make its clients takes seconds."""
    return Account(REGION)


def test_every_kind_is_found_and_deleted(moto: Emulator, name: str) -> None:
    stack_of(moto, name)
    make_everything(moto, name)
    found = find_all(here(), name)
    assert {one.kind for one in found} == {kind.name for kind in KINDS}
    assert all(one.is_ours for one in found)

    left = destroyer(name).run(delete_data=True)

    assert left == []
    assert destroyer(name).look() == []


def test_workers_that_the_web_tier_launches_while_it_ends_are_ended_before_the_stack(
    moto: Emulator, name: str
) -> None:
    stack_of(moto, name)
    ec2, clock, lines, late = moto.client("ec2"), ManualClock(), list[str](), list[str]()
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    def launch() -> str:
        tags = [{"ResourceType": "instance", "Tags": [tag(name)]}]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
        return str(made["Instances"][0]["InstanceId"])

    def pause(seconds: float) -> None:
        clock.advance(seconds)
        if len(late) < 2:
            late.append(launch())

    first = launch()
    assert Destroy(here(), name, Waiting(clock, pause, lines.append)).run(delete_data=True) == []

    before_the_stack = lines[: lines.index(f"deleting the stack {name}")]
    assert [line for line in before_the_stack if line.startswith("deleted")] == [
        f"deleted instance {one}" for one in (first, *late)
    ]


def test_a_deployment_whose_name_begins_alike_stays(moto: Emulator, name: str) -> None:
    other = f"{name}-2"
    for one in (name, other):
        stack_of(moto, one)
        make_everything(moto, one)
    before = find_all(here(), other)

    assert destroyer(name).run(delete_data=True) == []

    assert find_all(here(), other) == before
    assert destroyer(other).look()[0] == Found("stack", other)


def test_data_stays_unless_told_otherwise_and_no_other_bucket_does(moto: Emulator, name: str) -> None:
    make_data(moto, name)

    assert destroyer(name).run(delete_data=False) == []

    incoming, outgoing, _ = bucket_names(here(), name)
    assert find_all(here(), name) == [Found("bucket", incoming), Found("bucket", outgoing)]
    assert destroyer(name).run(delete_data=True) == []


def test_a_resource_with_the_name_and_without_the_tag_is_listed_and_left_alone(
    moto: Emulator, name: str
) -> None:
    moto.client("sqs").create_queue(QueueName=f"{name}-input-queue")
    bucket = bucket_names(here(), name)[0]
    moto.client("s3").create_bucket(Bucket=bucket)
    moto.client("s3").put_object(Bucket=bucket, Key="photo", Body=b"")
    moto.client("iam").create_instance_profile(InstanceProfileName=f"{name}-{REGION}-web")

    left = destroyer(name).run(delete_data=True)

    assert [one.found.kind for one in left] == ["queue", "instance profile", "bucket"]
    assert all("not its tag" in one.reason for one in left)
    assert moto.client("s3").get_object(Bucket=bucket, Key="photo")


def test_a_stack_of_someone_else_is_refused_before_anything_is_deleted(moto: Emulator, name: str) -> None:
    stack_of(moto, name, owner="someone else")
    make_data(moto, name)
    before = find_all(here(), name)

    with pytest.raises(ConfigError, match="is not a deployment of beholder"):
        destroyer(name).run(delete_data=True)

    assert find_all(here(), name) == before


def test_it_may_be_killed_at_any_call_and_run_again(
    moto: Emulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call in turn is the last of a run; each run begins where the one before died."""
    stack_of(moto, name)
    make_everything(moto, name)
    real, runs, is_done = Account.call, 0, False
    while not is_done:
        runs += 1
        assert runs < RUNS_MAX
        with monkeypatch.context() as patched:
            patched.setattr(Account, "call", dying_at_the_next_deletion(real))
            try:
                is_done = destroyer(name).run(delete_data=True) == []
            except KeyboardInterrupt:
                continue

    assert destroyer(name).look() == []
    assert runs > len(KINDS)


def dying_at_the_next_deletion(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `call` that dies right after the first call that deletes something.

    Stopping the web tier deletes nothing, and each run does it again.
    """

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        answer = real(self, service, action, **parameters)
        if not action.startswith(("describe", "list", "get", "update")):
            raise KeyboardInterrupt
        return answer

    return call


def test_a_service_that_does_not_answer_is_an_error_and_no_empty_list(
    moto: Emulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(moto, name)
    real = Account.call

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        if action == "get_role":
            raise BackendUnavailable(service, action)
        return real(self, service, action, **parameters)

    monkeypatch.setattr(Account, "call", call)

    with pytest.raises(BackendUnavailable):
        destroyer(name).run(delete_data=True)


def test_what_cannot_be_deleted_is_left_with_the_reason_of_its_service(
    moto: Emulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(moto, name)
    real = Account.call

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        if action == "delete_log_group":
            raise BackendDenied(service, action, "AccessDenied: not you")
        return real(self, service, action, **parameters)

    monkeypatch.setattr(Account, "call", call)

    (left,) = destroyer(name).run(delete_data=True)

    assert left.found == Found("log group", f"/beholder/{name}")
    assert left.reason.endswith("AccessDenied: not you")


def test_the_command_asks_for_the_name_and_deletes_nothing_without_it(moto: Emulator, name: str) -> None:
    make_data(moto, name)
    before = find_all(here(), name)

    refused = CliRunner().invoke(
        beholder, ["destroy", name, "--region", REGION, "--delete-data"], input="yes\n"
    )

    assert (refused.exit_code, find_all(here(), name)) == (1, before)
    for one in before:
        assert f"{one.kind} {one.id}" in refused.output

    done = CliRunner().invoke(
        beholder, ["destroy", name, "--region", REGION, "--delete-data"], input=f"{name}\n"
    )

    assert (done.exit_code, find_all(here(), name)) == (0, []), done.output
    assert done.output.endswith(f"nothing is left of {name}\n")


def test_the_command_lists_what_is_left_and_fails(moto: Emulator, name: str) -> None:
    stack_of(moto, name)
    bucket = bucket_names(here(), name)[0]
    moto.client("s3").create_bucket(Bucket=bucket)

    ended = CliRunner().invoke(beholder, ["destroy", name, "--region", REGION, "--delete-data", "--yes"])

    assert ended.exit_code == 1
    assert f"left: bucket {bucket}: has a name of the deployment" in ended.output


def test_the_command_points_to_the_region_of_the_deployment(moto: Emulator, name: str) -> None:
    stack_of(moto, name, region="eu-west-1")
    stack_of(moto, name, region="eu-north-1", owner="someone else")

    ended = CliRunner().invoke(beholder, ["destroy", name, "--region", REGION])

    assert ended.exit_code == 1
    assert f"beholder destroy {name} --region eu-west-1" in ended.output
    assert "eu-north-1" not in ended.output
    assert Stack(Account("eu-west-1"), name).status() == "CREATE_COMPLETE"


def test_a_destroy_during_a_rollback_waits_for_its_end(
    moto: Emulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation deletes no stack that changes; what began before would leave orphans."""
    stack_of(moto, name)
    real_status, real_delete = Stack.status, Stack.delete
    rolling_back, order = ["ROLLBACK_IN_PROGRESS"] * 3, []

    def status(self: Stack) -> str:
        found = rolling_back.pop() if rolling_back else real_status(self)
        order.append(found)
        return found

    def delete(self: Stack, retained: Sequence[str] = ()) -> None:
        order.append("delete")
        real_delete(self, retained)

    monkeypatch.setattr(Stack, "status", status)
    monkeypatch.setattr(Stack, "delete", delete)

    assert destroyer(name).run(delete_data=True) == []

    deleted = order.index("delete")
    assert order[:3] == ["ROLLBACK_IN_PROGRESS"] * 3
    assert set(order[3:deleted]) == {"CREATE_COMPLETE"}
    assert real_status(Stack(here(), name)) == ""
