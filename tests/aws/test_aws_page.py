"""What docs/aws.md tells to copy works as it stands."""

import base64
import configparser
import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from aws.aws_page import PAGE, block_with, set_up, user_data
from aws.deployment import Deployment
from aws.emulators import EMULATORS, Emulator, emulator, miss
from beholder.config import make_settings
from beholder.config.sources import load_settings
from beholder.store.keys import upload_result_key
from docs.pages import column, read, table

WAIT_PASSES = 120


@dataclass(frozen=True)
class Made:
    """A deployment that the page's script made."""

    emulator: Emulator
    prefix: str
    folder: Path


@pytest.fixture(scope="module", params=EMULATORS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    aws = emulator(request.param)
    prefix = f"page-{secrets.token_hex(4)}"
    return Made(aws, prefix, set_up(aws, prefix, tmp_path_factory.mktemp("page")))


class OnMade(Deployment):
    """Processes on queues and buckets that are there already."""

    def __init__(self, made: Made) -> None:
        super().__init__(made.emulator, made.folder, prefix=made.prefix)
        self.prefix = made.prefix

    def __enter__(self) -> Self:
        return self


@pytest.fixture
def processes(made: Made) -> Iterator[OnMade]:
    with OnMade(made) as deployment:
        yield deployment


# --- what the script makes ----------------------------------------------------------------------------------


@pytest.mark.aws
def test_on_what_the_script_makes_a_dropped_image_is_recognised(
    made: Made, processes: OnMade, samples: Path
) -> None:
    # given
    processes.start_web()
    worker = processes.start_worker()
    worker.await_line("worker.ready")
    # when
    image = next(samples.glob("*.jpg")).read_bytes()
    s3 = made.emulator.client("s3")
    s3.put_object(Bucket=f"{made.prefix}-input-bucket", Key="drop/a/b.jpg", Body=image)
    # then
    where = {"Bucket": f"{made.prefix}-output-bucket", "Key": upload_result_key("drop/a/b.jpg")}
    s3.get_waiter("object_exists").wait(**where, WaiterConfig={"Delay": 1, "MaxAttempts": WAIT_PASSES})
    job = json.loads(s3.get_object(**where)["Body"].read())
    assert job["status"] == "succeeded"
    assert not [line for line in worker.lines if "queue.redrive" in line]


@pytest.mark.aws
def test_the_queues_and_buckets_are_as_the_page_says(made: Made) -> None:
    sqs, s3 = made.emulator.client("sqs"), made.emulator.client("s3")

    def attributes(name: str) -> dict[str, str]:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return dict(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])

    dead, queue = attributes(f"{made.prefix}-input-queue-dead"), attributes(f"{made.prefix}-input-queue")
    assert dead["MessageRetentionPeriod"] == queue["MessageRetentionPeriod"] == str(14 * 86_400)
    # the test event of S3 would boot an instance
    assert queue["ApproximateNumberOfMessages"] == queue["ApproximateNumberOfMessagesNotVisible"] == "0"
    redrive = json.loads(queue["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
    assert int(redrive["maxReceiveCount"]) == make_settings().queue.receive_count_max
    (statement,) = json.loads(queue["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Resource"] == queue["QueueArn"]
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{made.prefix}-input-bucket"},
        "StringEquals": {"aws:SourceAccount": queue["QueueArn"].split(":")[4]},
    }
    for name, prefixes in (("input", ["images/", "drop/"]), ("output", ["results/", "resent/"])):
        bucket = f"{made.prefix}-{name}-bucket"
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert len(block) == 4
        assert all(block.values())
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert [rule["Filter"]["Prefix"] for rule in rules] == prefixes


@pytest.mark.aws
def test_the_launch_template_ends_what_shuts_down_and_guards_its_role(made: Made) -> None:
    asked = made.emulator.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=f"{made.prefix}-worker"
    )
    (data,) = [one["LaunchTemplateData"] for one in asked["LaunchTemplateVersions"]]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert int(data["MetadataOptions"]["HttpPutResponseHopLimit"]) == 1
    assert data["IamInstanceProfile"]["Name"] == f"{made.prefix}-worker"
    assert base64.b64decode(data["UserData"]).decode() == user_data(made.prefix)
    (group,) = made.emulator.client("ec2").describe_security_groups(GroupIds=data["SecurityGroupIds"])[
        "SecurityGroups"
    ]
    assert group["IpPermissions"] == []


# --- what its documents say ---------------------------------------------------------------------------------


def policy(name: str) -> list[dict[str, Any]]:
    """Return the statements of a document that the script writes; its variables stand as they are."""
    found = re.search(
        rf"^cat > {name}\.json <<EOF\n(.*?)^EOF$", block_with("# setup.sh"), re.DOTALL | re.MULTILINE
    )
    assert found, name
    return list(json.loads(found[1])["Statement"])


def rights(statements: list[dict[str, Any]]) -> set[str]:
    actions = [one["Action"] for one in statements]
    return {action for one in actions for action in ([one] if isinstance(one, str) else one)}


@pytest.mark.parametrize(
    ("document", "process"), [("web", "web"), ("worker", "worker"), ("fleet", "web, with `launch_template`")]
)
def test_a_policy_allows_what_the_table_says(document: str, process: str) -> None:
    (row,) = [row for row in table(read(PAGE), "process") if row[0] == process]
    told = set(re.findall(r"`((?:s3|sqs|ec2|iam):\w+)`", row[1])) - {
        "iam:CreateServiceLinkedRole",
        "ec2:CreateAction",
    }
    assert rights(policy(document)) == told


def test_no_worker_may_touch_instances_or_roles() -> None:
    assert {one.partition(":")[0] for one in rights(policy("worker"))} == {"s3", "sqs"}


# --- the other blocks ---------------------------------------------------------------------------------------


def test_a_stack_s_outputs_that_the_page_lists_are_understood() -> None:
    page = read(PAGE)
    outputs, sets = column(page, "output"), column(page, "output", 1)
    values = dict.fromkeys(outputs, "some-name") | {"Encryption": "aws:kms"}
    loaded = load_settings({"BEHOLDER_STACK": "it"}, {}, outputs_of=lambda _stack, _region: values)
    assert {name for name, source in loaded.sources.items() if source == "stack it"} == {*sets, "backend"}
    assert len(outputs) == len(sets)


@pytest.mark.parametrize(("status", "starts"), [(2, 1), (1, 10), (137, 10), (0, 1)])
def test_the_user_data_gives_up(status: int, starts: int, tmp_path: Path) -> None:
    # given: commands that write down how they are called
    for name, ends in (("beholder", status), ("shutdown", 0), ("sleep", 0)):
        command = tmp_path / name
        command.write_text(
            f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\nexit {ends}\n', encoding="utf-8"
        )
        command.chmod(0o755)
    script = block_with("# user-data.sh").replace("/opt/beholder/bin", str(tmp_path))
    # when
    # Nothing but these commands can be found: a shutdown that is not ours would end this machine.
    shell = shutil.which("sh")
    assert shell
    subprocess.run([shell, "-c", script], env={"PATH": str(tmp_path)}, check=True, timeout=60)
    # then
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[0] == "shutdown -h +1440"
    assert calls[-1] == "shutdown -h now"
    assert len([one for one in calls if one.startswith("beholder worker")]) == starts


def test_the_unit_is_one_that_systemd_reads(tmp_path: Path) -> None:
    text = block_with("[Service]")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
    if shutil.which("systemd-analyze") is None:
        miss("systemd-analyze is not installed; apt-get install systemd")
    path = tmp_path / "beholder-worker.service"
    path.write_text(text.replace("/opt/beholder/bin/beholder", "/bin/true"), encoding="utf-8")
    run = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert [line for line in run.stderr.splitlines() if path.name in line] == []
