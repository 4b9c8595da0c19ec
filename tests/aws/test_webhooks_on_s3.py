"""Records of webhooks in a bucket of S3: kept, taken over, and looked for once among all web processes."""

from pathlib import Path

import pytest

from aws.emulators import REGION, emulator
from beholder.clock import SystemClock
from beholder.store.keys import WEBHOOKS
from beholder.store.s3 import S3Store
from beholder.web.webhooks.records import WebhookRecords
from helpers.hooked_web import HookedWeb
from helpers.receiver import Receiver

pytestmark = pytest.mark.aws


@pytest.fixture(scope="module")
def bucket() -> S3Store:
    aws = emulator("moto")
    return S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint)


def on_s3(folder: Path, bucket: S3Store, **more: object) -> HookedWeb:
    service = HookedWeb(folder, **more)
    service.images = service.results = bucket  # type: ignore[assignment]
    return service.on(service)


def test_a_delivery_is_made_and_one_that_is_left_is_taken_over(tmp_path: Path, bucket: S3Store) -> None:
    first = on_s3(tmp_path, bucket)
    with Receiver() as receiver:
        with first:
            made = first.submit(receiver.url())
            first.work()
            receiver.await_count(1)
            first.await_no_record()
            left = first.submit(receiver.url())
        first.work()
        assert [one.key for one in bucket.list(WEBHOOKS)] == [WEBHOOKS + left]
        with on_s3(tmp_path, bucket, owner="web-1", takeover_s=0.0) as second:
            second.clock.advance(60.0)
            deliveries = receiver.await_count(2)
            second.await_no_record()
    assert [one.verified()["data"]["id"] for one in deliveries] == [made, left]


def test_web_processes_look_once_in_a_while_together(bucket: S3Store) -> None:
    records = [WebhookRecords(bucket, SystemClock()) for _ in range(3)]
    claimed = [one.claim_scan(3_600.0) for one in records]
    assert sum(claimed) <= 1
    assert records[0].claim_scan(0.0)
