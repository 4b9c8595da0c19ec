"""Which objects of S3 are read for a request, within which bounds, and what the refusals are."""

import asyncio
import json
from collections.abc import Callable

import pytest

from beholder.errors import (
    BackendDenied,
    BackendUnavailable,
    BadParameter,
    BeholderError,
    BucketFailed,
    BucketRefused,
    ImageTooLarge,
    ObjectNotFound,
    Overloaded,
    RequestError,
)
from beholder.model.decode.limits import ImageLimits
from beholder.store.port import FoundObject
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.json_body import read_s3_object
from beholder.web.submission.s3_objects import S3Fetcher
from beholder.web.submission.upload import S3Object
from beholder.web.submission.upload_budget import UploadBudget
from helpers.web import Ask, ask, memory_ports

JSON = {"content_type": "application/json"}
LIMITS = WebLimits(image=ImageLimits(image_bytes_max=10), uploads_bytes_max=15)


def fetch(
    place: S3Object,
    *allowed: str,
    found: Callable[[str, str, str | None], FoundObject] | None = None,
    limits: WebLimits = LIMITS,
) -> bytes:
    def found_it(*_: str | None) -> FoundObject:
        return FoundObject(3, lambda: b"abc")

    async def run() -> bytes:
        fetcher = S3Fetcher(allowed, found or found_it, limits)
        with UploadBudget(limits.uploads_bytes_max, Telemetry()).reserve() as reservation:
            data = await fetcher.fetch(place, reservation)
            assert reservation.count == len(data)
            return data

    return asyncio.run(run())


@pytest.mark.parametrize("allowed", ["photos", "photos/", "photos/a", "photos/a/", "photos/a/b.jpg"])
def test_what_the_setting_names_is_read(allowed: str) -> None:
    assert fetch(S3Object("photos", "a/b.jpg"), "others", allowed) == b"abc"


@pytest.mark.parametrize("allowed", ["photo", "photos-2", "photos/b", "photos/a/b.jpg2", "photos/A"])
def test_nothing_else_is_asked_for(allowed: str) -> None:
    def found(*_: object) -> FoundObject:
        raise AssertionError

    with pytest.raises(BucketRefused):
        fetch(S3Object("photos", "a/b.jpg"), allowed, found=found)


def raising(error: BeholderError) -> Callable[..., FoundObject]:
    def found(*_: object) -> FoundObject:
        raise error

    return found


@pytest.mark.parametrize("error", [ObjectNotFound, BackendDenied])
def test_a_missing_object_and_a_denied_one_are_refused_alike(error: type[BeholderError]) -> None:
    with pytest.raises(BucketFailed) as caught:
        fetch(S3Object("photos", "a"), "photos", found=raising(error("s3", "get", "secret")))
    assert "secret" not in caught.value.detail


def test_trouble_of_s3_is_not_the_callers() -> None:
    with pytest.raises(BackendUnavailable):
        fetch(S3Object("photos", "a"), "photos", found=raising(BackendUnavailable("s3", "get")))


def test_a_large_object_is_refused_before_it_is_read() -> None:
    def read() -> bytes:
        raise AssertionError

    with pytest.raises(ImageTooLarge, match="11 bytes"):
        fetch(S3Object("photos", "a"), "photos", found=lambda *_: FoundObject(11, read))
    with pytest.raises(Overloaded):
        fetch(
            S3Object("photos", "a"),
            "photos",
            found=lambda *_: FoundObject(16, read),
            limits=WebLimits(image=ImageLimits(image_bytes_max=20), uploads_bytes_max=15),
        )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("s3://photos/a", S3Object("photos", "a")),
        ("S3://photos/a//b/../c?d#e", S3Object("photos", "a//b/../c?d#e")),
        ({"bucket": "photos", "key": "a"}, S3Object("photos", "a")),
        ({"bucket": "photos", "key": "a", "version": "7"}, S3Object("photos", "a", "7")),
    ],
)
def test_an_object_is_named_by_address_or_parts(document: object, expected: S3Object) -> None:
    assert read_s3_object(document) == expected


@pytest.mark.parametrize(
    "document",
    [
        "",
        "s3://",
        "s3://photos",
        "s3://photos/",
        "s3:///a",
        "s3://PHOTOS/a",
        "s3://a@evil.example/b",
        "s3://photos:80/b",
        "https://photos/a",
        "s3://photos/" + "a" * 1_025,
        7,
        [],
        {},
        {"bucket": "photos"},
        {"bucket": "photos", "key": ""},
        {"bucket": "photos", "key": 7},
        {"bucket": "photos", "key": "a", "version": 7},
        {"bucket": "photos", "key": "a", "region": "eu-west-1"},
    ],
)
def test_what_names_no_object_is_refused(document: object) -> None:
    with pytest.raises((BadParameter, RequestError)):
        read_s3_object(document)


def test_a_service_without_buckets_says_so_in_every_form() -> None:
    place = {"Bucket": "photos", "Name": "a"}
    requests = [
        Ask(
            "POST",
            "/v1/classify",
            json.dumps({"s3": "s3://photos/a"}).encode(),
            {"content_type": "application/json"},
        ),
        Ask(
            "POST",
            "/hf",
            json.dumps({"inputs": "s3://photos/a"}).encode(),
            {"content_type": "application/json"},
        ),
        Ask(
            "POST",
            "/",
            json.dumps({"Image": {"S3Object": place}}).encode(),
            {"x_amz_target": "RekognitionService.DetectLabels"},
        ),
    ]

    own, hugging_face, rekognition = ask(memory_ports(), *requests)

    assert (own.status, own.json["code"]) == (400, "bucket_refused")
    assert hugging_face.json["error_type"] == "bucket_refused"
    assert rekognition.json["__type"] == "InvalidS3ObjectException"
