"""Lines reach CloudWatch Logs in their order, a request for many of them, also after an outage."""

import queue
import secrets
import subprocess
import sys

import pytest

from aws.emulators import CREDENTIALS, REGION, Emulator
from beholder.aws.client import AwsClient
from beholder.aws.log_stream import LogStream, collected
from beholder.clock import ManualClock, SystemClock

pytestmark = pytest.mark.aws


@pytest.fixture
def group(moto: Emulator) -> str:
    name = f"/beholder/zoo-{secrets.token_hex(4)}"
    moto.client("logs").create_log_group(logGroupName=name)
    return name


def messages(moto: Emulator, group: str, stream: str) -> list[str]:
    found = moto.client("logs").get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    return [one["message"] for one in found["events"]]


def test_standard_input_becomes_a_stream_and_a_second_start_continues_it(moto: Emulator, group: str) -> None:
    environment = CREDENTIALS | {"AWS_ENDPOINT_URL": moto.endpoint, "BEHOLDER_REGION": REGION}
    command = [sys.executable, "-m", "beholder", "ship-logs", group, "worker/i-1"]
    for text in ('{"action": "worker.ready"}\n\nsecond\n', "third, of another start"):
        subprocess.run(command, input=text, text=True, env=environment, check=True, timeout=60)
    assert messages(moto, group, "worker/i-1") == [
        '{"action": "worker.ready"}',
        "second",
        "third, of another start",
    ]


def test_lines_wait_while_the_service_does_not_answer(moto: Emulator, group: str) -> None:
    # given: a group that is made only after two attempts
    late, pauses = f"{group}-late", list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            moto.client("logs").create_log_group(logGroupName=late)

    client = AwsClient("logs", backend="cloudwatch logs", region=REGION, endpoint=moto.endpoint)
    LogStream(client, late, "web/i-2", clock=SystemClock(), pause=pause).write(["one", "two"])
    assert len(pauses) == 2
    assert messages(moto, late, "web/i-2") == ["one", "two"]


def test_lines_that_wait_go_together_and_the_last_ones_are_not_lost() -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    for line in ("one", "two", None):
        lines.put(line)
    clock = ManualClock()
    assert collected(lines, clock) == ["one", "two"]
    assert collected(lines, clock) is None


def test_a_request_is_no_longer_than_the_service_takes() -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    for _ in range(40):
        lines.put("x" * 50_000)
    first = collected(lines, ManualClock())
    assert first is not None
    assert sum(len(line) + 26 for line in first) < 1_048_576
