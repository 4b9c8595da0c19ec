"""Direct uploads to S3: what is signed, and that the image is found under the job's key."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from aws.emulators import REGION, emulator
from beholder.aws.presigned import PresignedPuts
from beholder.job import Message
from beholder.queue.memory import MemoryQueue
from beholder.store.recovery import unfinished
from beholder.store.s3 import S3Store
from helpers.web import Ask, ask, memory_ports

pytestmark = pytest.mark.aws

JSON = {"content_type": "application/json", "prefer": "respond-async"}


def test_a_link_signs_all_that_the_put_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    puts = PresignedPuts("b", region=REGION, encryption="aws:kms", kms_key="arn:aws:kms:us-east-1:1:key/k")

    url, headers = puts.sign("images/a/upload=", 77, "image/jpeg", 900.0)

    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["900"]
    signed = set(query["X-Amz-SignedHeaders"][0].split(";"))
    assert signed == {"host", "content-length", *headers}
    assert headers == {
        "content-type": "image/jpeg",
        "if-none-match": "*",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:us-east-1:1:key/k",
    }


def test_an_image_goes_to_s3_and_its_message_points_there(
    monkeypatch: pytest.MonkeyPatch, samples: Path
) -> None:
    aws, photo = emulator("moto"), (samples / "coffee.jpg").read_bytes()
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    bucket, queue = aws.make_bucket(), MemoryQueue()
    images = S3Store(bucket, region=REGION, endpoint=aws.endpoint)
    ports = memory_ports(
        images=images,
        results=images,
        queue=queue,
        presign=PresignedPuts(bucket, region=REGION, encryption="AES256").sign,
    )
    body = json.dumps({"bytes": len(photo), "content_type": "image/jpeg"}).encode()

    (link,) = (one.json for one in ask(ports, Ask("POST", "/v1/uploads", body, JSON)))
    classify = Ask("POST", "/v1/classify", json.dumps({"upload": link["id"], "top_k": 2}).encode(), JSON)
    (early,) = ask(ports, classify)
    put = urllib.request.Request(link["url"], photo, link["headers"], method=link["method"])
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(put)
    caught.value.close()
    (job,) = ask(ports, classify)

    assert early.json["code"] == "upload_not_found"
    assert caught.value.code == 412
    assert job.json["id"] == link["id"]
    (received,) = queue.receive(count_max=10, wait_s=0)
    message = Message.from_bytes(received.body)
    assert images.get(message.input.image_key) == photo
    assert message.image is None
    (repaired,) = unfinished(images, images)
    assert repaired == replace(message, reply_to=None, wants_text=True)
    assert message.input.options.top_k == 2
