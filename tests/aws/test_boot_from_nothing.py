"""An instance starts from user data and the bundle alone: its root has no beholder, its network only AWS."""

import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from aws.deployment import Deployment
from aws.emulators import REGION, ROOT, Emulator, miss
from beholder.deploy.bundle import Bundle
from ec2.account import Account
from ec2.harness import Ec2Harness, End
from ec2.nspawn import boot_under_systemd, why_no_systemd

pytestmark = [pytest.mark.aws, pytest.mark.slow]

WAIT_S = 300.0
STEPS = ["user_data", "fetched", "unpacked", "started", "warm", "receiving"]
USER_DATA_BYTES_MAX = 4096


@pytest.fixture
def harness(moto: Emulator) -> Iterator[Ec2Harness]:
    environment = {ROOT, Path(sys.prefix)}
    with Ec2Harness(moto.endpoint, covered=sorted(environment)) as harness:
        yield harness


def user_data(deployment: Deployment, bundle: Bundle, **changed: str) -> str:
    """Return a worker's user data, as the template makes it."""
    bucket = f"{deployment.prefix}-bundles"
    settings = {
        "ROLE": "worker",
        "BUNDLE": f"{bucket}/{bundle.key}",
        "BUNDLE_SHA256": bundle.sha256,
        "BEHOLDER_BACKEND": "aws",
        "BEHOLDER_REGION": REGION,
        "BEHOLDER_PREFIX": deployment.prefix,
        "BEHOLDER_OUTPUT_BUCKET": f"{deployment.prefix}-output-bucket",
        "BEHOLDER_IDLE_S_MAX": "8",
        "BEHOLDER_DEPTH_LAG_S": "1",
        "BEHOLDER_LEAVE_BY": "shutdown",
        "BEHOLDER_LOG_FORM": "json",
    } | changed
    s3 = deployment.emulator.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(bundle.path), bucket, bundle.key)
    lines = [f"{name}={value}" for name, value in settings.items()]
    script = (files("beholder.deploy") / "user_data.sh").read_text()
    nonce = f"# {secrets.token_hex(8)}"
    return "\n".join(["#!/bin/bash", "cat > /etc/beholder.env <<'EOF'", *lines, "EOF", nonce, script])


def read_object(deployment: Deployment, key: str) -> str:
    s3 = deployment.emulator.client("s3")
    return str(s3.get_object(Bucket=f"{deployment.prefix}-output-bucket", Key=key)["Body"].read().decode())


def test_a_worker_starts_from_the_bundle_alone_serves_and_reports_each_step(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle, tmp_path: Path
) -> None:
    with Deployment(moto, tmp_path) as deployment:
        # given: a web process outside, and instances whose root has neither checkout nor environment
        web, account = deployment.start_web(), Account(moto)
        script = user_data(deployment, bundle)
        assert len(script.encode()) < USER_DATA_BYTES_MAX
        # when
        (instance,) = account.create_fleet(account.make_template(script), 1)
        harness.wait_for(
            lambda: "worker.startup" in harness.console(instance) or instance in harness.ended, WAIT_S
        )
        assert instance not in harness.ended, harness.console(instance)
        photo = (ROOT / "samples" / "coffee.jpg").read_bytes()
        request = urllib.request.Request(f"{web.url}/v1/classify", photo)
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            answer = json.load(response)
        # then: it answers, its steps are known, and it leaves when it has nothing to do
        assert answer["result"]["labels"][0]["name"] == "espresso"
        startup = json.loads(read_object(deployment, f"fleet/startups/{instance}.json"))
        print(f"bundle of {bundle.path.stat().st_size / 1e6:.0f} MB; seconds since the launch: {startup}")
        assert [step for step in startup if step in STEPS] == STEPS
        harness.wait_for(lambda: instance in harness.ended, WAIT_S)
        assert harness.ended[instance] is End.SHUT_DOWN


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({"BUNDLE_SHA256": "0" * 64}, "verify the bundle"),
        ({"BEHOLDER_MODEL": "no-such-model"}, "start the service"),
    ],
    ids=["another bundle", "wrong settings"],
)
def test_an_instance_that_cannot_start_sends_the_reason_and_ends(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle, tmp_path: Path, changed: dict[str, str], step: str
) -> None:
    with Deployment(moto, tmp_path) as deployment:
        account = Account(moto)
        template = account.make_template(user_data(deployment, bundle, **changed))
        (instance,) = account.create_fleet(template, 1)
        harness.wait_for(lambda: instance in harness.ended, WAIT_S)
        assert harness.ended[instance] is End.SHUT_DOWN
        told = read_object(deployment, f"fleet/failed-starts/{instance}")
        assert told.startswith(f"{step}: ")


def test_under_systemd_the_unit_starts_logs_and_a_worker_that_leaves_powers_off(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle, tmp_path: Path
) -> None:
    if reason := why_no_systemd():
        miss(reason)
    with Deployment(moto, tmp_path) as deployment:
        # given: a machine with systemd in the network of an instance that does nothing itself
        group = f"/beholder/{deployment.prefix}"
        moto.client("logs").create_log_group(logGroupName=group)
        account = Account(moto)
        (instance,) = account.create_fleet(account.make_template(f"#!/bin/sh\n# {group}\nsleep 3600\n"), 1)
        harness.wait_for(lambda: harness.is_alive(instance), WAIT_S)
        script = user_data(deployment, bundle, LOG_GROUP=group, AWS_ENDPOINT_URL=moto.endpoint)
        disk = tmp_path / "disk"
        disk.mkdir()
        # when: it boots, and has nothing to do
        network, covered = harness.network(instance), [ROOT, Path(sys.prefix)]
        log = boot_under_systemd(script, network=network, disk=disk, covered=covered, timeout_s=WAIT_S)
        # then: it has powered off, and its log says why
        print(log)
        s3 = moto.client("s3")
        failed = s3.list_objects_v2(
            Bucket=f"{deployment.prefix}-output-bucket", Prefix="fleet/failed-starts/"
        )
        assert [read_object(deployment, one["Key"]) for one in failed.get("Contents", [])] == []
        startup = json.loads(read_object(deployment, f"fleet/startups/{instance}.json"))
        assert [step for step in startup if step in STEPS] == STEPS
        events = moto.client("logs").get_log_events(
            logGroupName=group, logStreamName=f"worker/{instance}", startFromHead=True
        )
        actions = [
            json.loads(one["message"]).get("action") for one in events["events"] if one["message"][0] == "{"
        ]
        assert {"worker.ready", "worker.startup"} <= set(actions)
