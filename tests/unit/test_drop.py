"""Events of S3 are read as S3 sends them, and as its emulators do."""

import json
from datetime import datetime
from typing import Any

import pytest

from beholder.job import Message, MessageInvalid, is_job_id
from beholder.job.drop import Drop, Foreign, Several, read_event
from beholder.job.ids import created_at_s
from helpers import events

BUCKET = "input-bucket"


def read(key: str = "drop/a.jpg", **more: Any) -> Drop:
    found = read_event(events.body(key, bucket=BUCKET, **more))
    assert isinstance(found, Drop)
    return found


@pytest.mark.parametrize(
    "encoded",
    [
        "drop/a+b/%C3%BC%2B.jpg",  # S3
        "drop%2Fa+b%2F%C3%BC%2B.jpg",  # moto
        "drop/a%20b/%C3%BC%2B.jpg",  # localstack
    ],
)
def test_a_key_is_decoded_from_each_of_its_forms(encoded: str) -> None:
    assert read(encoded=encoded).key == "drop/a b/ü+.jpg"


def test_a_drop_is_a_job_with_options_of_the_default_and_nobody_who_waits() -> None:
    drop = read("drop/cats/tom.jpg", size=1024)
    message = drop.to_message(5.0)
    put_at_s = datetime.fromisoformat(events.TIME).timestamp()
    assert message == Message(drop.job_id, put_at_s, message.input)
    assert is_job_id(message.job_id)
    assert created_at_s(message.job_id) == put_at_s
    assert (message.input.image_key, message.input.file_name) == ("drop/cats/tom.jpg", "tom.jpg")
    assert message.input.image_bytes == 1024
    assert Message.from_bytes(message.to_bytes()) == message


def test_the_same_event_is_the_same_job_and_another_version_is_another() -> None:
    assert read().job_id == read().job_id
    others = {
        read().job_id,
        read(sequencer="0055AED6DCD90281E6").job_id,
        read("drop/b.jpg").job_id,
        read(sequencer=None, versionId="v1").job_id,
        read(sequencer=None, versionId="v2").job_id,
        read(sequencer=None).job_id,
        read(sequencer=None, eTag="e2").job_id,
    }
    assert len(others) == 7


@pytest.mark.parametrize("time", [None, 5, "soon", "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00Z"])
def test_a_time_that_cannot_be_read_costs_nothing_but_the_time(time: object) -> None:
    record = events.record("drop/a.jpg", bucket=BUCKET) | {"eventTime": time}
    found = read_event(events.several(record))
    assert isinstance(found, Drop)
    assert found.put_at_s is None
    assert found.to_message(5.0).created_at_s == 5.0
    assert found.job_id == found.to_message(6.0).job_id


def test_a_time_without_a_zone_is_utc() -> None:
    record = events.record("drop/a.jpg", bucket=BUCKET) | {"eventTime": "1970-01-01T00:00:10"}
    found = read_event(events.several(record))
    assert isinstance(found, Drop)
    assert found.put_at_s == 10.0


def test_an_event_of_several_objects_is_one_body_for_each() -> None:
    records = [events.record(f"drop/{name}", bucket=BUCKET) for name in ("a.jpg", "ü.jpg", "c.jpg")]
    found = read_event(events.several(*records, {"eventSource": "aws:s3", "half a pair": "\ud800"}))
    assert isinstance(found, Several)
    drops = [read_event(one) for one in found.bodies[:3]]
    assert [one.key for one in drops if isinstance(one, Drop)] == ["drop/a.jpg", "drop/ü.jpg", "drop/c.jpg"]


FOREIGN: dict[str, Any] = {
    "nothing": {},
    "an SNS notification": {"Type": "Notification", "Message": "{}"},
    "an EventBridge event": {"detail-type": "Object Created", "detail": {}},
    "no records": {"Records": []},
    "another service's": {"Records": [{"EventSource": "aws:sns", "Sns": {}}]},
    "a deletion": {"Records": [events.record("drop/a", bucket=BUCKET, name="ObjectRemoved:Delete")]},
}


@pytest.mark.parametrize("document", FOREIGN.values(), ids=FOREIGN)
def test_what_asks_nothing_of_us_is_foreign(document: Any) -> None:
    found = read_event(json.dumps(document).encode())
    assert isinstance(found, Foreign)
    assert found.kind == "foreign"


def test_a_test_event_is_told_from_other_foreign_bodies() -> None:
    found = read_event(b'{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}')
    assert isinstance(found, Foreign)
    assert found.kind == "test event"


def changed(**more: Any) -> bytes:
    return events.several(events.record("drop/a.jpg", bucket=BUCKET) | more)


BROKEN = {
    "empty": b"",
    "no text": b"\xff\xfe",
    "no object": b"[]",
    "too deep": b"[" * 100_000,
    "records that are no list": b'{"Records": {}}',
    "a record that is no object": b'{"Records": [5]}',
    "no kind": changed(eventName=None),
    "no object put": changed(s3={"bucket": {"name": BUCKET}}),
    "no bucket": changed(s3={"object": {"key": "drop/a", "size": 1}}),
    "a bucket that is no text": changed(s3={"bucket": {"name": 5}, "object": {"key": "a", "size": 1}}),
    "no size": events.body("drop/a", bucket=BUCKET, size=None),
    "a key that is no text": events.body("drop/a", bucket=BUCKET, encoded=["a"]),
    "a key that is no UTF-8": events.body("drop/a", bucket=BUCKET, encoded="drop/%FF"),
    "a key that is half a character": events.body("drop/a", bucket=BUCKET, encoded="drop/\ud800"),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid, match="not an event of S3"):
        read_event(body)


def test_what_says_that_it_is_a_message_is_left_to_others() -> None:
    assert read_event(b'{"v": 99, "Records": []}') is None
