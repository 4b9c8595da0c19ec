"""Images that requests name in S3: what is read, and what is refused, with a real web tier and worker."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from aws.emulators import REGION, Emulator, emulator
from helpers.service import Reply, RunningService

pytestmark = pytest.mark.aws


@dataclass
class Scene:
    """A service that may read one bucket and one folder of another."""

    aws: Emulator
    service: RunningService
    whole: str
    partly: str
    other: str

    def ask(self, document: object) -> Reply:
        body = json.dumps(document).encode()
        return self.service.request("POST", "/v1/classify", body, {"content-type": "application/json"})

    def rekognition(self) -> Any:
        return boto3.client("rekognition", region_name=REGION, endpoint_url=self.service.url)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Iterator[Scene]:
    aws = emulator("moto")
    s3, photo = aws.client("s3"), (samples / "coffee.jpg").read_bytes()
    whole, partly, other = (aws.make_bucket() for _ in range(3))
    s3.put_bucket_versioning(Bucket=whole, VersioningConfiguration={"Status": "Enabled"})
    for bucket, key in ((whole, "a b/ü?#.jpg"), (partly, "in/coffee.jpg"), (partly, "out.jpg"), (other, "a")):
        s3.put_object(Bucket=bucket, Key=key, Body=photo)
    s3.put_object(Bucket=whole, Key="large", Body=bytes(300_001))
    s3.put_object(Bucket=whole, Key="text", Body=b"no image")
    s3.put_object(Bucket=whole, Key="empty", Body=b"")
    settings = {"s3_inputs": f"{whole},{partly}/in/", "workers": 1, "image_bytes_max": 300_000}
    before = os.environ.copy()
    os.environ["AWS_ENDPOINT_URL_S3"] = aws.endpoint
    try:
        with RunningService(tmp_path_factory.mktemp("data"), **settings) as service:
            yield Scene(aws, service, whole, partly, other)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_an_object_is_classified_by_its_address_or_its_parts(scene: Scene) -> None:
    for place in (
        f"s3://{scene.whole}/a b/ü?#.jpg",
        {"bucket": scene.whole, "key": "a b/ü?#.jpg"},
        f"s3://{scene.partly}/in/coffee.jpg",
    ):
        reply = scene.ask({"s3": place, "top_k": 1})
        assert reply.status == 200, reply.body
        assert reply.json["result"]["labels"][0]["name"] == "espresso"
        assert reply.json["input"]["file_name"] in ("ü?#.jpg", "coffee.jpg")


def test_the_version_that_is_named_is_read(scene: Scene) -> None:
    s3 = scene.aws.client("s3")
    photo = s3.get_object(Bucket=scene.other, Key="a")["Body"].read()
    first = s3.put_object(Bucket=scene.whole, Key="v", Body=photo)["VersionId"]
    s3.put_object(Bucket=scene.whole, Key="v", Body=b"no image")

    assert scene.ask({"s3": {"bucket": scene.whole, "key": "v", "version": first}}).status == 200
    assert scene.ask({"s3": {"bucket": scene.whole, "key": "v"}}).json["code"] == "image_type_unsupported"


def test_what_cannot_be_read_is_refused_by_its_reason(scene: Scene) -> None:
    cases = {
        f"s3://{scene.other}/a": (400, "bucket_refused"),
        f"s3://{scene.partly}/out.jpg": (400, "bucket_refused"),
        f"s3://{scene.whole}-2/a": (400, "bucket_refused"),
        f"s3://{scene.whole}/missing": (422, "bucket_failed"),
        f"s3://{scene.whole}/large": (413, "image_too_large"),
        f"s3://{scene.whole}/text": (415, "image_type_unsupported"),
        f"s3://{scene.whole}/empty": (400, "image_missing"),
        "s3://": (400, "bad_parameter"),
        "https://example.org/a": (400, "bad_parameter"),
    }
    for place, expected in cases.items():
        reply = scene.ask({"s3": place})
        assert (reply.status, reply.json["code"]) == expected, (place, reply.body)
    two = {"s3": f"s3://{scene.whole}/text", "image": "AAAA"}
    assert scene.ask(two).json["code"] == "image_missing"


def test_rekognitions_client_names_an_object(scene: Scene) -> None:
    place = {"Bucket": scene.partly, "Name": "in/coffee.jpg"}

    answer = scene.rekognition().detect_labels(Image={"S3Object": place}, MaxLabels=1)

    assert answer["Labels"][0]["Name"] == "espresso"


@pytest.mark.parametrize(
    ("bucket", "key", "error"),
    [
        ("whole", "missing", "InvalidS3ObjectException"),
        ("other", "a", "InvalidS3ObjectException"),
        ("whole", "large", "ImageTooLargeException"),
        ("whole", "text", "InvalidImageFormatException"),
    ],
)
def test_rekognitions_client_gets_its_own_error(scene: Scene, bucket: str, key: str, error: str) -> None:
    client = scene.rekognition()

    with pytest.raises(ClientError) as caught:
        client.detect_labels(Image={"S3Object": {"Bucket": getattr(scene, bucket), "Name": key}})
    assert isinstance(caught.value, getattr(client.exceptions, error))
