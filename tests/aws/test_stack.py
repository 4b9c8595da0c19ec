"""Settings from a CloudFormation stack, read by the command line from an emulator's CloudFormation."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aws.deployment import Deployment
from aws.emulators import CREDENTIALS, REGION, Emulator

pytestmark = pytest.mark.aws

OTHER_REGION = "eu-central-1"


def make_stack(moto: Emulator, outputs: Mapping[str, Any], region: str = REGION) -> str:
    """Return the name of a new stack of two buckets and two queues."""
    queue, bucket = {"Type": "AWS::SQS::Queue"}, {"Type": "AWS::S3::Bucket"}
    redrive = {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 3}
    template = {
        "Resources": {
            "Images": bucket,
            "Results": bucket,
            "Dead": queue,
            "Jobs": queue | {"Properties": {"RedrivePolicy": redrive}},
        },
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    name = f"stack-{secrets.token_hex(4)}"
    client = moto.client("cloudformation", region)
    client.create_stack(StackName=name, TemplateBody=json.dumps(template))
    return name


def outputs_of(prefix: str) -> dict[str, Any]:
    """Return outputs as a deployment has them: settings, and one for people."""
    return {
        "InputBucket": {"Ref": "Images"},
        "OutputBucket": {"Ref": "Results"},
        "InputQueue": {"Fn::GetAtt": ["Jobs", "QueueName"]},
        "DeadLetterQueue": {"Fn::GetAtt": ["Dead", "QueueName"]},
        "OutputQueue": f"{prefix}-replies",
        "Dashboard": "https://example.com/",
    }


def made_by(moto: Emulator, stack: str, region: str = REGION) -> dict[str, str]:
    """Return the physical name of each resource."""
    found = moto.client("cloudformation", region).describe_stack_resources(StackName=stack)["StackResources"]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"].rpartition("/")[2] for one in found}


def beholder(moto: Emulator, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("BEHOLDER_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "beholder", *arguments],
        env=plain | CREDENTIALS | {"AWS_ENDPOINT_URL": moto.endpoint} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def config(moto: Emulator, **variables: str) -> dict[str, tuple[str, str]]:
    """Return the value and the source of each setting."""
    ran = beholder(moto, "config", "--json", **variables)
    assert ran.returncode == 0, ran.stderr
    return {name: (one["value"], one["source"]) for name, one in json.loads(ran.stdout).items()}


@pytest.mark.parametrize("region", [REGION, OTHER_REGION])
def test_the_outputs_of_a_stack_set_what_its_resources_are_called(moto: Emulator, region: str) -> None:
    # given
    stack = make_stack(moto, outputs_of("zoo"), region)
    made = made_by(moto, stack, region)
    # when
    found = config(moto, BEHOLDER_STACK=stack, AWS_REGION=region)
    # then
    source = f"stack {stack}"
    assert found["input_bucket"] == (made["Images"], source)
    assert found["output_bucket"] == (made["Results"], source)
    assert found["input_queue"] == (made["Jobs"], source)
    assert found["dead_letter_queue"] == (made["Dead"], source)
    assert found["output_queue"] == ("zoo-replies", source)
    assert found["backend"] == ("aws", source)
    assert found["region"] == (region, "AWS_REGION")
    assert found["stack"] == (stack, "BEHOLDER_STACK")
    assert found["prefix"] == ("beholder", "default")


def test_a_stack_wins_over_the_file_and_loses_to_the_environment(moto: Emulator, tmp_path: Path) -> None:
    # given
    stack = make_stack(moto, outputs_of("zoo"))
    file = tmp_path / "beholder.toml"
    file.write_text(f'stack = "{stack}"\noutput_queue = "by-file"\nport = 8081\n', encoding="utf-8")
    # when
    found = config(moto, BEHOLDER_CONFIG=str(file), BEHOLDER_INPUT_QUEUE="by-environment")
    # then
    assert found["output_queue"] == ("zoo-replies", f"stack {stack}")
    assert found["input_queue"] == ("by-environment", "BEHOLDER_INPUT_QUEUE")
    assert found["port"] == ("8081", str(file))


def test_a_worker_finds_its_queues_and_buckets_by_the_option(moto: Emulator, tmp_path: Path) -> None:
    # given: a prefix after which nothing is named, so that without the stack the worker would not start
    stack = make_stack(moto, outputs_of("zoo"))
    with Deployment(moto, tmp_path) as deployment:
        deployment.configure(prefix="nowhere")
        # when
        worker = deployment.start_worker(stack=stack)
        # then
        worker.await_line(r"worker\.ready")


@pytest.mark.parametrize("command", ["config", "worker"])
@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [(None, "cannot be read: "), ({}, "has no outputs; it is none of beholder, or not ready")],
    ids=["missing", "without outputs"],
)
def test_a_stack_that_tells_nothing_is_a_problem_of_the_settings(
    moto: Emulator, tmp_path: Path, command: str, outputs: dict[str, Any] | None, sentence: str
) -> None:
    # given
    stack = "no-such-stack" if outputs is None else make_stack(moto, outputs)
    # when
    variables = {"BEHOLDER_STACK": stack, "BEHOLDER_DATA_DIR": str(tmp_path)}
    ran = beholder(moto, command, **variables)
    # then
    assert ran.returncode == 2, ran.stderr
    assert f"stack '{stack}' in {REGION} {sentence}" in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
