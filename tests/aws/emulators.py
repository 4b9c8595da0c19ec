"""The AWS emulators of the tests: moto's server and, as a second opinion, ministack.

Each runs in a process of its own, bound to 127.0.0.1 on a free port, started when the first test asks for it
and ended with the run. Where AWS's documented behaviour and an emulator differ, AWS decides, and the test
that this emulator cannot run says so (`unlike_aws`).

What to install: `boto3` and `moto[server,s3,sqs]==5.2.5` beside pytest; `ministack==1.5.33` pins its own
botocore, so it goes into an environment of its own, `.venv-ministack`, or anywhere on PATH. Where something
is missing the tests are skipped; in CI, told by the variable CI, they fail, or nobody would notice.
"""

import atexit
import contextlib
import functools
import importlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

EMULATORS = ("moto", "ministack")
REGION = "us-east-1"
ROOT = Path(__file__).resolve().parents[2]
_READY_S = 30.0
# Emulators take any credentials; these are what both document.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    name: str
    endpoint: str

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a boto3 client: for what tests set up and look at, never for what they test."""
        return _client(service, self.endpoint, region)

    def make_bucket(self) -> str:
        """Return the name of a new bucket."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def make_queue(self, **attributes: str) -> str:
        """Return the URL of a new queue."""
        made = self.client("sqs").create_queue(QueueName=f"q-{secrets.token_hex(6)}", Attributes=attributes)
        return str(made["QueueUrl"])

    def arn_of(self, url: str) -> str:
        """Return the ARN of a queue."""
        asked = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(asked["Attributes"]["QueueArn"])

    def unlike_aws(self, emulators: str, reason: str) -> None:
        """Skip the running test on these emulators.

        Args:
            emulators: Names, separated by blanks.
            reason: What they do, and what AWS documents.
        """
        if self.name in emulators.split():
            pytest.skip(f"{self.name}: {reason}")


def emulator(name: str) -> Emulator:
    """Return the emulator, started if need be; skip the test where it is not installed, or fail it in CI."""
    os.environ.update(CREDENTIALS)
    for module in ("boto3", "obstore"):
        try:
            importlib.import_module(module)
        except ImportError:
            miss(f"{module} is not installed; pip install boto3 'moto[server,s3,sqs]==5.2.5'")
    return _started(name)


@contextlib.contextmanager
def own_ministack(**variables: str) -> Iterator[Emulator]:
    """Run a ministack for one test alone, with more environment variables, such as AUTH='true'."""
    emulator("ministack")  # or skip
    port = free_port()
    command, loopback = _ministack_command(port)
    process, own = _run("ministack", port, command, loopback | variables)
    try:
        yield own
    finally:
        end_process(process)


def miss(reason: str) -> NoReturn:
    """Skip the running test for want of a tool, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def _client(service: str, endpoint: str, region: str) -> Any:
    boto3 = importlib.import_module("boto3")
    keys = {name.lower(): value for name, value in CREDENTIALS.items()}
    return boto3.client(service, region_name=region, endpoint_url=endpoint, **keys)


@functools.cache
def _started(name: str) -> Emulator:
    commands: dict[str, Callable[[int], tuple[list[str], dict[str, str]]]] = {
        "moto": _moto_command,
        "ministack": _ministack_command,
    }
    port = free_port()
    process, found = _run(name, port, *commands[name](port))
    atexit.register(end_process, process)
    return found


def _run(
    name: str, port: int, command: list[str], variables: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Emulator]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, name, endpoint)
    except BaseException:
        end_process(process)
        raise
    return process, Emulator(name, endpoint)


def _moto_command(port: int) -> tuple[list[str], dict[str, str]]:
    if importlib.util.find_spec("moto") is None:
        miss("moto is not installed; pip install 'moto[server,s3,sqs]==5.2.5'")
    server = str(Path(__file__).with_name("moto_server.py"))
    # One image, not moto's 1301: each has a snapshot, and every listing of snapshots goes through all.
    images = {"MOTO_AMIS_PATH": str(Path(__file__).with_name("amis.json"))}
    return [sys.executable, "-P", server, "-H", "127.0.0.1", "-p", str(port)], images


def _ministack_command(port: int) -> tuple[list[str], dict[str, str]]:
    own = ROOT / ".venv-ministack" / "bin" / "ministack"
    command = str(own) if own.exists() else shutil.which("ministack")
    if command is None:
        miss(
            "ministack is not installed; python -m venv .venv-ministack"
            " && .venv-ministack/bin/pip install ministack==1.5.33"
        )
    loopback = {"BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    return [command], loopback


def _wait_until_ready(process: subprocess.Popen[bytes], name: str, endpoint: str) -> None:
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            pytest.fail(f"{name} ended with status {process.returncode} instead of starting")
        try:
            urllib.request.urlopen(endpoint, timeout=1.0).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{name} did not answer within {_READY_S} s")


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    if process.poll() is None:
        process.kill()
        process.wait()
