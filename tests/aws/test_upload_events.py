"""A real bucket notification, on two emulators: what is put under its prefix is recognised."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from beholder.store.keys import upload_result_key
from helpers.rig import Rig

pytestmark = pytest.mark.aws

PASSES_MAX = 20


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


class Uploading:
    """A worker of the rig on a bucket that sends upload events to its queue."""

    def __init__(self, aws: Emulator, folder: Path) -> None:
        from beholder.queue.sqs import SqsQueue  # noqa: PLC0415 -- only where the emulator is
        from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415
        from beholder.store.s3 import S3Store  # noqa: PLC0415

        self.bucket, url = aws.make_bucket(), aws.make_queue()
        self.s3 = aws.client("s3")
        rule = {
            "QueueArn": aws.arn_of(url),
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "drop/"}]}},
        }
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
        )
        self.rig = Rig(folder)
        self.client = SqsClient(region=REGION, endpoint=aws.endpoint)
        self.queue = SqsQueue(url, client=self.client)
        self.rig.queue = self.queue  # type: ignore[assignment]
        self.rig.images = S3Store(self.bucket, region=REGION, endpoint=aws.endpoint)  # type: ignore[assignment]
        self.worker = self.rig.worker(wait_s=1.0, input_bucket=self.bucket, image_bytes_max=100)

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def work_until(self, count: int) -> dict[str, Any]:
        """Work until there are so many results, and nothing more is in the queue."""
        for _ in range(PASSES_MAX):
            self.worker.tick()
            depth = self.queue.depth()
            found = [info.key for info in self.rig.results.list("")]
            if len(found) == count and depth.backlog + depth.in_flight == 0:
                break
        return {key: json.loads(self.rig.results.get(key)) for key in found}


@pytest.fixture
def uploading(aws: Emulator, tmp_path: Path) -> Iterator[Uploading]:
    made = Uploading(aws, tmp_path)
    yield made
    made.queue.close()
    made.client.close()


def test_what_any_tool_puts_into_the_bucket_is_recognised(uploading: Uploading) -> None:
    # given
    images = {"drop/a b/ü+.jpg": b"dog", "drop/100%.jpg": b"hen", "drop/bad.jpg": b"!", "drop/x": bytes(101)}
    for key, data in images.items():
        uploading.put(key, data)
    uploading.put("drop/folder/", b"")
    uploading.put("images/not-uploaded.jpg", b"owl")
    # when
    jobs = uploading.work_until(4)
    # then
    assert set(jobs) == {upload_result_key(key) for key in images}
    found = [jobs[upload_result_key(key)] for key in images]
    assert [one["status"] for one in found] == ["succeeded", "succeeded", "failed", "failed"]
    assert [one["result"]["labels"][0]["name"] for one in found[:2]] == ["dog", "hen"]
    assert [one["error"]["code"] for one in found[2:]] == ["image_truncated", "image_too_large"]
    assert uploading.rig.dead_letters.depth().backlog == 0


def test_a_newer_object_of_the_same_key_replaces_the_result(uploading: Uploading) -> None:
    for data in (b"cat", b"dog", b"owl"):
        uploading.put("drop/a.jpg", data)
    (job,) = uploading.work_until(1).values()
    assert job["result"]["labels"][0]["name"] == "owl"
