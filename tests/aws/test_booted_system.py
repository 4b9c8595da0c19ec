"""The whole system on booted instances: launched by CreateFleet, they serve, and leave by themselves."""

import asyncio
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from aws.deployment import Deployment
from aws.emulators import Emulator
from beholder.model.decode.limits import ImageLimits
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.prepare import prepare
from beholder.model.registry import ModelRegistry
from ec2.account import Account
from ec2.harness import Ec2Harness, End

pytestmark = pytest.mark.aws

WAIT_S = 300.0
CLIENTS = 8
IMAGES = 48
# Far longer than a caller waits: what a lost hand-back leaves hidden is an answer that does not come in time.
VISIBILITY_TIMEOUT_S, CLIENT_TIMEOUT_S = 600, 60

Photo = tuple[bytes, str]
"""An image, and the label that the model itself gives it."""


@pytest.fixture
def harness(moto: Emulator) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint) as harness:
        yield harness


def user_data(deployment: Deployment, idle_s_max: float) -> str:
    """Return what a launch template of the deployment runs: a worker that is started again if it dies."""
    settings = {
        "BACKEND": "aws",
        "REGION": deployment.emulator.client("sqs").meta.region_name,
        "PREFIX": deployment.prefix,
        "CONSUMERS": "1",
        "VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S),
        "IDLE_S_MAX": str(idle_s_max),
        "DEPTH_LAG_S": "1",
        "LEAVE_BY": "shutdown",
    }
    lines = [f"export BEHOLDER_{name}={value}" for name, value in settings.items()]
    worker = f"{sys.executable} -m beholder worker --data-dir /var/lib/beholder"
    loop = f"until {worker}; do sleep 1; done"
    return "\n".join(["#!/bin/sh", *lines, loop, f"# {secrets.token_hex(8)}", ""])


@pytest.fixture(scope="module")
def photos(imagenet_100: Path) -> list[Photo]:
    """Return images, each with the label that the model itself gives it."""
    classifier = OpenVinoClassifier(ModelRegistry(Path("/nonexistent")).find("efficientnet-lite0"))
    classifier.warm_up()
    spec = classifier.spec
    found = []
    for path in sorted(imagenet_100.glob("*.JPEG"))[:IMAGES]:
        data = path.read_bytes()
        (row,) = classifier.classify([prepare(data, spec.preprocessing, ImageLimits())])
        found.append((data, spec.labels[int(row.argmax())]))
    return found


async def send_until(url: str, photos: Sequence[Photo], is_over: threading.Event) -> list[str]:
    """Send every photo, and all of them again, until it is over; however fast the instances are."""
    labels = await send_all(url, photos)
    while not is_over.is_set():
        labels += await send_all(url, photos)
    return labels


async def send_all(url: str, photos: Sequence[Photo]) -> list[str]:
    """Send every photo, a few at once; returns the label of each."""
    waiting = asyncio.Semaphore(CLIENTS)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(CLIENT_TIMEOUT_S)) as session:

        async def send(data: bytes) -> str:
            async with waiting, session.post(f"{url}/v1/classify", data=data) as response:
                body = await response.json()
                assert response.status == 200, body
                return str(body["result"]["labels"][0]["name"])

        return await asyncio.gather(*(send(data) for data, _ in photos))


def test_instances_of_a_fleet_serve_and_leave_and_a_spot_notice_loses_nothing(
    moto: Emulator, harness: Ec2Harness, photos: list[Photo], tmp_path: Path
) -> None:
    with Deployment(moto, tmp_path, visibility_timeout_s=VISIBILITY_TIMEOUT_S) as deployment:
        # given: a web process, and no worker but those that CreateFleet launches
        web = deployment.start_web()
        account = Account(moto)
        template = account.make_template(user_data(deployment, idle_s_max=6.0))
        # when: one of three is taken away, with a poll under way that gets messages after the notice
        instances = account.create_fleet(template, 3, spot=True)
        taken = instances[0]
        harness.wait_for(lambda: "worker.ready" in harness.console(taken), WAIT_S)
        labels = asyncio.run(send_all(web.url, photos))
        # and the notice comes while messages are on their way to all three
        is_seen = threading.Event()
        with ThreadPoolExecutor(1) as thread:
            sending = thread.submit(lambda: asyncio.run(send_until(web.url, photos, is_seen)))
            try:
                harness.interrupt(taken, notice_s=120.0)
                harness.wait_for(lambda: "drain.interrupted" in harness.console(taken), WAIT_S)
            finally:
                is_seen.set()
            labels += sending.result(WAIT_S)
        labels += asyncio.run(send_all(web.url, photos))
        # then: every caller has the right answer, and none waited for a visibility timeout
        times, rest = divmod(len(labels), len(photos))
        assert times >= 3
        assert not rest
        assert labels == times * [label for _, label in photos]
        # and all have left: the one told of its end long before that, the others for having nothing to do
        harness.wait_for(lambda: set(harness.ended) >= set(instances), WAIT_S)
        assert {harness.ended[one] for one in instances} == {End.SHUT_DOWN}
        assert set(account.states(instances).values()) <= {"shutting-down", "terminated"}
        assert "interruption.notice" in harness.console(taken)
        served = [one for one in instances if "drain.done" in harness.console(one)]
        assert served == instances
        queues = deployment.emulator.client("sqs")
        for url in (deployment.input_url, deployment.dead_url):
            asked = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            assert (
                asked["ApproximateNumberOfMessages"] == asked["ApproximateNumberOfMessagesNotVisible"] == "0"
            )
