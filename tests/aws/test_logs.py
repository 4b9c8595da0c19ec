"""`beholder logs` on moto: what the instances shipped is printed, and what comes later is followed."""

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from aws.emulators import CREDENTIALS, REGION, Emulator, emulator
from beholder.aws.client import AwsClient
from beholder.aws.log_stream import LogStream
from beholder.cli.main import beholder
from beholder.clock import SystemClock
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = pytest.mark.aws

WAIT_S = 60.0
ROLES = {"web": "web/i-1", "worker": "worker/i-2"}


class Shipping:
    """A deployment with a log group, and what its instances ship."""

    def __init__(self, aws: Emulator) -> None:
        self.name = f"zoo-{secrets.token_hex(4)}"
        aws.client("cloudformation").create_stack(
            StackName=self.name,
            TemplateBody='{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}',
            Tags=[{"Key": DEPLOYMENT_TAG, "Value": self.name}],
        )
        group = f"/beholder/{self.name}"
        aws.client("logs").create_log_group(logGroupName=group)
        client = AwsClient("logs", backend="logs", region=REGION, endpoint=aws.endpoint)
        self._streams = {
            role: LogStream(client, group, stream, clock=SystemClock(), pause=threading.Event().wait)
            for role, stream in ROLES.items()
        }

    def write(self, role: str, *lines: str) -> None:
        self._streams[role].write(lines)

    def print(self, *options: str) -> list[str]:
        """Return what the command prints, without the times."""
        result = CliRunner().invoke(beholder, ["logs", self.name, "--region", REGION, *options])
        assert result.exit_code == 0, result.output
        return [line.partition(" ")[2] for line in result.output.splitlines()]


@pytest.fixture
def shipping(monkeypatch: pytest.MonkeyPatch) -> Shipping:
    """On moto: ministack gives 10,000 events and no page more."""
    aws = emulator("moto")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    return Shipping(aws)


def test_lines_are_chosen_by_role_and_instance(shipping: Shipping) -> None:
    shipping.write("web", "first")
    shipping.write("worker", '{"level": "info", "action": "worker.ready", "message": "ready"}')

    assert sorted(shipping.print()) == ["web/i-1 first", "worker/i-2 worker.ready: ready"]
    assert shipping.print("--role", "web") == ["web/i-1 first"]
    assert shipping.print("--instance", "i-2") == ["worker/i-2 worker.ready: ready"]
    assert shipping.print("--role", "web", "--instance", "i-2") == []


def test_thousands_of_lines_come_once_each_over_all_pages(shipping: Shipping) -> None:
    lines = [f"line {number}" for number in range(12_000)]
    for start in range(0, len(lines), 1000):
        shipping.write("web", *lines[start : start + 1000])

    printed = shipping.print("--role", "web")

    assert len(printed) == len(lines)
    assert set(printed) == {f"web/i-1 {line}" for line in lines}


@pytest.fixture
def following(shipping: Shipping) -> Iterator[subprocess.Popen[str]]:
    shipping.write("web", "before")
    process = subprocess.Popen(
        [sys.executable, "-m", "beholder", "logs", shipping.name, "--region", REGION, "--follow"],
        env={**os.environ, **CREDENTIALS, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(WAIT_S, process.kill)
    watchdog.start()
    yield process
    watchdog.cancel()
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def test_following_prints_each_new_line_once_and_ends_by_a_signal(
    shipping: Shipping, following: subprocess.Popen[str]
) -> None:
    assert following.stdout
    assert following.stdout.readline().endswith("web/i-1 before\n")
    for number in range(3):
        shipping.write("worker", f"line {number}")
        assert following.stdout.readline().endswith(f"worker/i-2 line {number}\n")
    following.send_signal(signal.SIGINT)

    assert following.stdout.read() == ""
    assert following.wait(WAIT_S) == 0


def test_an_age_that_is_none_is_refused(shipping: Shipping) -> None:
    refused = CliRunner().invoke(
        beholder, ["logs", shipping.name, "--region", REGION, "--since", "yesterday"]
    )

    assert "--since" in str(refused.exception)
