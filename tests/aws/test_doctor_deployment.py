"""`beholder doctor` on a deployment that exists: the template's stack on moto, whole and damaged."""

import functools
import json
import secrets
from typing import Any

import pytest
from click.testing import CliRunner

from aws.emulators import REGION, Emulator, own_ministack
from aws.stacks import Stack
from beholder.cli.main import beholder
from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.doctor import Finding, Level
from beholder.deploy.doctor.after import check_deployment
from beholder.deploy.doctor.rights import check_rights, policies_of
from beholder.deploy.stack import Stack as DeployedStack
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = [pytest.mark.aws, pytest.mark.usefixtures("calls_go_to_moto")]

CHECKS = {"stack", "queues", "launch templates", "dry run", "alarms"}


@pytest.fixture
def stack(moto: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    archive = tmp_path_factory.mktemp("bundle") / f"{'a' * 64}.tar.gz"
    archive.write_bytes(b"")
    stack = Stack(moto, Bundle(archive, "a" * 64))
    # moto's CloudFormation makes no alarms.
    for alarm in ("dead-letters", "oldest-message", "failed-startups"):
        moto.client("cloudwatch").put_metric_alarm(
            AlarmName=f"{stack.name}-{alarm}",
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanThreshold",
            Tags=[{"Key": DEPLOYMENT_TAG, "Value": stack.name}],
        )
    return stack


@functools.cache
def account() -> Account:
    """Return the account; to make its clients takes seconds."""
    return Account(REGION)


def checked(stack: Stack) -> dict[str, list[Finding]]:
    """Return the findings of each check."""
    described: Any = DeployedStack(account(), stack.name).describe()
    found: dict[str, list[Finding]] = {}
    for finding in check_deployment(account(), stack.name, described):
        found.setdefault(finding.check, []).append(finding)
    return found


def problems(stack: Stack) -> list[Finding]:
    return [one for found in checked(stack).values() for one in found if one.level is not Level.OK]


def test_a_deployment_that_is_as_its_stack_made_it(stack: Stack) -> None:
    found = checked(stack)

    assert found.keys() == CHECKS
    assert problems(stack) == []


def test_queues_that_were_changed_by_hand(stack: Stack) -> None:
    sqs = stack.moto.client("sqs")
    url = sqs.get_queue_url(QueueName=stack.outputs["InputQueue"])["QueueUrl"]
    sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"MessageRetentionPeriod": "345600", "RedrivePolicy": ""}
    )

    found = problems(stack)

    assert [one.check for one in found] == ["queues", "queues"]
    assert "4 days instead of 14" in found[0].sentence


def test_a_queue_that_was_deleted(stack: Stack) -> None:
    sqs = stack.moto.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=stack.outputs["DeadLetterQueue"])["QueueUrl"])

    (finding,) = problems(stack)

    assert finding.sentence == "the dead-letter queue is gone"


def test_a_template_that_got_another_image_by_hand(stack: Stack) -> None:
    stack.moto.client("ec2").create_launch_template_version(
        LaunchTemplateName=f"{stack.name}-worker",
        SourceVersion="1",
        LaunchTemplateData={"ImageId": "ami-by-hand"},
    )

    (finding,) = problems(stack)

    assert finding.check == "launch templates"
    assert "ImageId is ami-by-hand, not ami-0123456789abcdef0" in finding.sentence


def test_a_template_that_is_gone(stack: Stack) -> None:
    stack.moto.client("ec2").delete_launch_template(LaunchTemplateName=f"{stack.name}-worker")

    assert [one.check for one in problems(stack)] == ["launch templates", "dry run"]


def test_an_alarm_that_goes_off(stack: Stack) -> None:
    stack.moto.client("cloudwatch").set_alarm_state(
        AlarmName=f"{stack.name}-oldest-message", StateValue="ALARM", StateReason="it waits for an hour"
    )

    (finding,) = problems(stack)

    assert (finding.check, finding.level) == ("alarms", Level.PROBLEM)
    assert "it waits for an hour" in finding.sentence


def test_the_command_checks_the_deployment_too(stack: Stack) -> None:
    told = CliRunner().invoke(beholder, ["doctor", stack.name, "--region", REGION, "--json"])

    assert {json.loads(line)["check"] for line in told.stdout.splitlines()} > CHECKS


def test_wrong_region_finds_nothing_and_says_where_the_deployment_is(stack: Stack) -> None:
    told = CliRunner().invoke(beholder, ["doctor", stack.name, "--region", "us-west-1"])

    assert f"there is no deployment {stack.name} in us-west-1; it is in {REGION}" in told.output
    assert f"beholder doctor {stack.name} --region {REGION}" in told.output


def test_a_stack_of_someone_else(moto: Emulator) -> None:
    name = f"zoo-{secrets.token_hex(4)}"
    queue = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    moto.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(queue))

    told = CliRunner().invoke(beholder, ["doctor", name, "--region", REGION])

    assert told.exit_code == 1
    assert "is not a deployment of beholder" in told.output


# --- rights -------------------------------------------------------------------------------------------------


def test_the_command_prints_the_policies_of_a_deployer(moto: Emulator) -> None:
    told = CliRunner().invoke(beholder, ["doctor", "zoo", "--region", REGION, "--policy"])

    assert json.loads(told.output) == policies_of(account(), "zoo")


@pytest.mark.parametrize("is_admin", [True, False])
def test_rights_are_simulated_by_iam(is_admin: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Ministack simulates without conditions, so that a caller with them cannot be tried here."""
    with own_ministack() as ministack:
        iam = ministack.client("iam")
        iam.create_user(UserName="ann")
        allowed = {"Effect": "Allow", "Action": "*" if is_admin else "sqs:*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allowed]}
        iam.put_user_policy(UserName="ann", PolicyName="own", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="ann")["AccessKey"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

        (finding,) = check_rights(Account(REGION), "zoo")

    assert finding.level is (Level.OK if is_admin else Level.PROBLEM)
    if not is_admin:
        assert "ec2:RunInstances" in finding.sentence
        assert "sqs:" not in finding.sentence
        assert finding.command == f"beholder doctor zoo --region {REGION} --policy"
