"""A web instance starts from the template's user data alone, takes its address, and its fleet serves."""

import base64
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.awscli import aws_command, aws_json
from aws.emulators import ROOT, Emulator, miss
from aws.stacks import Stack
from beholder.deploy.bundle import Bundle
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from ec2.account import Account
from ec2.harness import Ec2Harness
from ec2.nspawn import boot_under_systemd, why_no_systemd

pytestmark = [pytest.mark.aws, pytest.mark.slow]

WAIT_S = 300.0
PORT = 8080


@pytest.fixture
def harness(moto: Emulator) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint, covered=[ROOT, Path(sys.prefix)]) as harness:
        yield harness


def send(url: str, data: bytes | None = None) -> Any:
    """Return what a request is answered, at once."""
    asked = urllib.request.Request(url, data, {"Prefer": "wait=0"})
    with urllib.request.urlopen(asked, timeout=60) as response:
        return json.load(response)


def release_address(stack: Stack) -> None:
    ec2 = stack.moto.client("ec2")
    (address,) = ec2.describe_addresses(PublicIps=[stack.outputs["ElasticIp"]])["Addresses"]
    ec2.release_address(AllocationId=address["AllocationId"])


def test_a_web_instance_takes_its_address_and_a_worker_that_it_launches_answers(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle, tmp_path: Path
) -> None:
    # given
    stack = Stack(moto, bundle)
    # when: the group launches an instance
    stack.set_web_instances(1)
    harness.wait_for(lambda: harness.startups, WAIT_S)
    (web,) = harness.startups
    harness.wait_for(lambda: stack.address_of() == web or web in harness.ended, WAIT_S)
    assert web not in harness.ended, harness.console(web)
    # then: it is ready, and an image is recognised by an instance that it has launched
    url = harness.url(web, PORT)
    with urllib.request.urlopen(f"{url}/readyz", timeout=WAIT_S) as response:
        assert response.status == 200
    job = send(f"{url}/v1/classify", (ROOT / "samples" / "coffee.jpg").read_bytes())
    harness.wait_for(lambda: send(f"{url}/v1/jobs/{job['id']}")["status"] == "succeeded", WAIT_S)
    answer = send(f"{url}/v1/jobs/{job['id']}")
    assert answer["result"]["labels"][0]["name"] == "espresso"
    (worker,) = set(harness.startups) - {web}
    startup = json.loads(stack.read_output(f"fleet/startups/{worker}.json"))
    print(f"seconds since the worker's launch: {startup}")
    assert list(startup)[-1] == "receiving"
    # and: AWS's own command line reads what was made
    with aws_command(moto, tmp_path):
        (described,) = aws_json(tmp_path, "cloudformation", "describe-stacks", "--stack-name", stack.name)[
            "Stacks"
        ]
        assert described["StackStatus"] == "CREATE_COMPLETE"
        tagged = f"Name=tag:{DEPLOYMENT_TAG},Values={stack.name}"
        found = aws_json(tmp_path, "ec2", "describe-instances", "--filters", tagged)["Reservations"]
        assert {one["InstanceId"] for each in found for one in each["Instances"]} == {web, worker}
        urls = aws_json(tmp_path, "sqs", "list-queues", "--queue-name-prefix", stack.name)["QueueUrls"]
        names = {one.rpartition("/")[2] for one in urls}
        assert {f"{stack.name}-input-queue", f"{stack.name}-input-queue-dead"} < names
        assert [one for one in names if one.startswith(f"{stack.name}-output-queue-")]
        file, bucket = str(tmp_path / "result"), stack.outputs["OutputBucket"]
        key = aws_json(tmp_path, "s3api", "list-objects-v2", "--bucket", bucket, "--prefix", "results/")[
            "Contents"
        ][0]
        aws_json(tmp_path, "s3api", "get-object", "--bucket", bucket, "--key", key["Key"], file)
        assert json.loads(Path(file).read_text())["status"] == "succeeded"


def test_under_systemd_the_web_unit_serves_and_a_refused_address_powers_off(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle, tmp_path: Path
) -> None:
    if missing := why_no_systemd():
        miss(missing)
    # given: a machine with systemd in the network of an instance that does nothing itself, and no address
    stack, account = Stack(moto, bundle), Account(moto)
    release_address(stack)
    (instance,) = account.create_fleet(account.make_template(f"#!/bin/sh\n# {stack.name}\nsleep 3600\n"), 1)
    harness.wait_for(lambda: harness.is_alive(instance), WAIT_S)
    told = moto.client("ec2").describe_launch_template_versions(LaunchTemplateName=f"{stack.name}-web")
    script = base64.b64decode(told["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()
    script = script.replace("ROLE=web\n", f"ROLE=web\nAWS_ENDPOINT_URL={moto.endpoint}\n", 1)
    disk = tmp_path / "disk"
    disk.mkdir()
    # when
    network, covered = harness.network(instance), [ROOT, Path(sys.prefix)]
    log = boot_under_systemd(script, network=network, disk=disk, covered=covered, timeout_s=WAIT_S)
    # then
    print(log)
    reason = stack.read_output(f"fleet/failed-starts/{instance}").partition("\n")[0]
    assert reason.startswith("take the address: InvalidAllocationID.NotFound: ")
    assert "Started beholder.service" in log
    events = moto.client("logs").get_log_events(
        logGroupName=stack.outputs["LogGroup"], logStreamName=f"web/{instance}", startFromHead=True
    )["events"]
    assert [one for one in events if "web.listening" in one["message"]]
