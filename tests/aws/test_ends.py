"""Processes on an emulator that are told to end: they let go of what they hold, and nobody waits for it."""

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aws.deployment import Deployment, Web
from aws.emulators import EMULATORS, Emulator, emulator
from beholder.scaling.unanswered import UNANSWERED_PREFIX
from ec2.account import Account

pytestmark = pytest.mark.aws

# Half of what a long poll lasts.
SOON_S = 10.0
WAIT_S = 60.0
# Well below the visibility timeout, so that what was swallowed is missed.
CLIENT_TIMEOUT_S, VISIBILITY_TIMEOUT_S = 20.0, 60.0
REQUESTS, CLIENTS = 24, 4


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


@pytest.fixture
def images(imagenet_100: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(imagenet_100.glob("*.JPEG"))[:REQUESTS]]


@pytest.fixture
def deployment(aws: Emulator, tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(aws, tmp_path, visibility_timeout_s=VISIBILITY_TIMEOUT_S) as deployment:
        yield deployment


def reply_queues(deployment: Deployment) -> list[str]:
    sqs = deployment.emulator.client("sqs")
    return list(sqs.list_queues(QueueNamePrefix=f"{deployment.prefix}-output-queue").get("QueueUrls", []))


def newest_term(deployment: Deployment) -> bytes:
    """Return the body of the lease's newest term: its holder's name, or nothing where it is free."""
    s3, bucket = deployment.emulator.client("s3"), f"{deployment.prefix}-output-bucket"
    terms = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="fleet/lease/")["Contents"]]
    return bytes(s3.get_object(Bucket=bucket, Key=max(terms))["Body"].read())


def unanswered(deployment: Deployment) -> dict[str, bytes]:
    """Return what web processes tell the leader, by the name that each was started with."""
    s3, bucket = deployment.emulator.client("s3"), f"{deployment.prefix}-output-bucket"
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=UNANSWERED_PREFIX).get("Contents", [])
    return {
        one["Key"].removeprefix(UNANSWERED_PREFIX)[: len("web-1")]: bytes(
            s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        )
        for one in listed
    }


def classify(web: Web, images: list[bytes]) -> list[str]:
    """Return the status of each image's job."""

    def send(image: bytes) -> str:
        asked = urllib.request.Request(f"{web.url}/v1/classify", data=image, method="POST")
        with urllib.request.urlopen(asked, timeout=CLIENT_TIMEOUT_S) as answer:
            return str(json.load(answer)["status"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(send, images))


def test_a_web_process_that_is_told_to_end_removes_its_reply_queue_and_waits_for_no_poll(
    deployment: Deployment,
) -> None:
    # given: a web process whose poll of its reply queue lasts 20 s
    web = deployment.start_web()
    assert len(reply_queues(deployment)) == 1
    # when
    status = web.process.stop(SOON_S)
    # then
    assert status == 0, web.process.lines
    assert reply_queues(deployment) == []


def test_a_web_process_that_is_told_to_end_releases_its_lease(tmp_path: Path) -> None:
    # given: a leader; who finds its lease unreleased waits for 90 s
    moto = emulator("moto")
    with Deployment(moto, tmp_path) as deployment:
        deployment.configure(launch_template=Account(moto).make_template("#!/bin/sh\n"), tick_s=10)
        leader = deployment.start_web("web-0")
        leader.process.await_line(r"lease\.taken")
        assert newest_term(deployment).startswith(b"web-0-")
        # and: a follower, which tells the leader how many of its messages are not answered
        follower = deployment.start_web("web-1")
        end_s = time.monotonic() + WAIT_S
        while (told := unanswered(deployment)) != {"web-1": b"0"}:
            assert time.monotonic() < end_s, told
            time.sleep(0.1)
        # when
        status = leader.process.stop(SOON_S)
        # then
        assert status == 0, leader.process.lines
        assert newest_term(deployment) == b""
        assert len(reply_queues(deployment)) == 1
        # and
        follower.process.await_line(r"lease\.taken")


def test_no_request_waits_for_a_visibility_timeout_when_one_of_two_workers_is_told_to_end(
    deployment: Deployment, images: list[bytes]
) -> None:
    # given: two workers, each with a poll under way
    web = deployment.start_web()
    workers = [deployment.start_worker(f"worker-{number}") for number in range(2)]
    for worker in workers:
        worker.await_line(r"worker\.ready")
    assert set(classify(web, images)) == {"succeeded"}
    # when: requests come while the one ends, and when it has ended
    workers[0].tell_to_end()
    statuses = classify(web, images)
    status = workers[0].wait()
    statuses += classify(web, images)
    workers[1].kill()  # told to end, it would wait for its poll
    # then
    assert status == 0, workers[0].lines
    assert statuses == ["succeeded"] * (2 * REQUESTS)
