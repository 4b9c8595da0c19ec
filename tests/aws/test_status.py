"""`beholder status` on moto, with the template's stack."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aws.emulators import REGION, Emulator
from aws.stacks import Stack
from beholder.cli.main import beholder
from beholder.clock import SystemClock
from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.find import find_deployment
from beholder.deploy.status import read_status
from beholder.errors import BackendDenied, DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG, LAUNCH_TAG
from beholder.scaling import Limits, Observation, PolicyState, Record, decide
from beholder.scaling.records.snapshot import SNAPSHOT_KEY, FleetSnapshot
from beholder.store import MemoryStore

pytestmark = [pytest.mark.aws, pytest.mark.usefixtures("calls_go_to_moto")]


@pytest.fixture
def stack(moto: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    archive = tmp_path_factory.mktemp("bundle") / f"{'a' * 64}.tar.gz"
    archive.write_bytes(b"")
    return Stack(moto, Bundle(archive, "a" * 64), Prices="c7a.large=0.1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(beholder, ["status", *arguments, "--region", REGION])


def told(stack: Stack) -> dict[str, Any]:
    result = run(stack.name, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


def put(stack: Stack, key: str, body: bytes) -> None:
    stack.moto.client("s3").put_object(Bucket=stack.outputs["OutputBucket"], Key=key, Body=body)


def test_a_deployment_at_rest(stack: Stack) -> None:
    stack.set_web_instances(1)

    document = told(stack)

    assert document["stack"] == "CREATE_COMPLETE"
    assert [one["state"] for one in document["web"]] == ["InService"]
    assert [one["name"] for one in document["queues"]] == [
        f"{stack.name}-input-queue",
        f"{stack.name}-input-queue-dead",
    ]
    assert document["workers"] == []
    assert "no controller" in document["controller"]
    assert document["unread"] == {}
    assert f"{stack.name} in {REGION}: CREATE_COMPLETE" in run(stack.name).output


def test_work_is_seen_in_every_part(stack: Stack) -> None:
    moto, now_s = stack.moto, SystemClock().now_s()
    sqs = moto.client("sqs")
    url = sqs.get_queue_url(QueueName=stack.outputs["InputQueue"])["QueueUrl"]
    for body in ("a", "b"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    tags = {DEPLOYMENT_TAG: stack.name, LAUNCH_TAG: "token"}
    launched = moto.client("ec2").run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        InstanceType="c7a.large",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": one} for key, one in tags.items()]}
        ],
    )
    worker = launched["Instances"][0]["InstanceId"]
    seen = Observation(now_s, 2)
    decision, _ = decide(seen, PolicyState(), Limits())
    record = Record.of(seen, decision, leader="web-0")
    put(stack, SNAPSHOT_KEY, FleetSnapshot(record, 60.0).to_bytes())
    put(stack, f"fleet/failed-starts/{worker}", b"warm: no model\ntraceback\n")
    put(stack, f"fleet/startups/{worker}.json", b'{"launched": 0.0, "receiving": 20.0}')

    document = told(stack)

    assert document["queues"][0]["visible"] == 2
    assert [(one["id"], one["instance_type"]) for one in document["workers"]] == [(worker, "c7a.large")]
    assert document["controller"] == ""
    assert len(document["decisions"]) == 1
    assert (document["failure"]["id"], document["failure"]["reason"]) == (worker, "warm: no model")
    assert document["startups"][0]["steps"] == {"launched": 0.0, "receiving": 20.0}


def test_metrics_give_the_age_of_the_oldest_message_and_the_cost_of_the_day(stack: Stack) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    jobs = [{"Name": "QueueName", "Value": stack.outputs["InputQueue"]}]
    for namespace, metric, dimensions, value in (
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", jobs, 77.0),
        ("AWS/SQS", "NumberOfMessagesDeleted", jobs, 500.0),
        (f"beholder/{stack.name}", "price_per_hour", [], 60.0),
    ):
        sample = {"MetricName": metric, "Dimensions": dimensions, "Value": value, "Timestamp": noon}
        stack.moto.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[sample])
    account = Account(REGION)

    status = read_status(
        account,
        stack.name,
        find_deployment(account, stack.name, "status"),
        open_store=lambda _: MemoryStore(),
        now_s=noon.timestamp() + 60,
    )

    assert [one.oldest_s for one in status.queues] == [77.0, None]
    assert status.cost
    assert (status.cost.workers_today, status.cost.images) == (1.0, 500)


def test_a_part_that_may_not_be_read_hides_no_other(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Account.call

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        if service == "sqs":
            raise BackendDenied(service, action, "AccessDenied: not you")
        return real(self, service, action, **parameters)

    monkeypatch.setattr(Account, "call", call)
    stack.set_web_instances(1)

    result = run(stack.name)

    assert result.exit_code == 1
    assert "not read: queues: sqs: get_queue_url: AccessDenied: not you" in result.output
    assert "InService" in result.output


def test_a_deployment_that_is_in_another_region(stack: Stack) -> None:
    result = CliRunner().invoke(beholder, ["status", stack.name, "--region", "us-west-1"])

    assert isinstance(result.exception, DeployError)
    assert f"it is in {REGION}: beholder status {stack.name} --region {REGION}" in result.exception.message


def test_a_stack_that_is_only_begun_has_no_parts(moto: Emulator, stack: Stack) -> None:
    """moto tells no outputs of it; neither does CloudFormation."""
    name = f"{stack.name}-2"
    moto.client("cloudformation").create_change_set(
        StackName=name,
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}),
        Tags=[{"Key": DEPLOYMENT_TAG, "Value": name}],
    )

    result = run(name)

    assert result.exit_code == 0, result.output
    assert f"{name} in {REGION}: REVIEW_IN_PROGRESS" in result.output
