"""Upload events are read as S3 sends them, and as its emulators do."""

import json
from datetime import datetime
from typing import Any

import pytest

from beholder.job import Message, MessageInvalid, is_job_id
from beholder.job.events import EventBatch, UnknownMessage, UploadEvent, read_event
from beholder.job.ids import created_at_s
from helpers import events

BUCKET = "input-bucket"


def read(key: str = "drop/a.jpg", **more: Any) -> UploadEvent:
    found = read_event(events.body(key, bucket=BUCKET, **more))
    assert isinstance(found, UploadEvent)
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


def test_an_upload_is_a_job_with_default_options_and_no_reply_queue() -> None:
    upload = read("drop/cats/tom.jpg", size=1024)
    message = upload.to_message(5.0)
    put_at_s = datetime.fromisoformat(events.TIME).timestamp()
    assert message == Message(upload.job_id, put_at_s, message.input)
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
def test_an_unreadable_time_costs_nothing_but_the_time(time: object) -> None:
    record = events.record("drop/a.jpg", bucket=BUCKET) | {"eventTime": time}
    found = read_event(events.batch(record))
    assert isinstance(found, UploadEvent)
    assert found.put_at_s is None
    assert found.to_message(5.0).created_at_s == 5.0
    assert found.job_id == found.to_message(6.0).job_id


def test_a_time_without_a_zone_is_utc() -> None:
    record = events.record("drop/a.jpg", bucket=BUCKET) | {"eventTime": "1970-01-01T00:00:10"}
    found = read_event(events.batch(record))
    assert isinstance(found, UploadEvent)
    assert found.put_at_s == 10.0


def test_an_event_of_several_objects_is_one_body_for_each() -> None:
    records = [events.record(f"drop/{name}", bucket=BUCKET) for name in ("a.jpg", "ü.jpg", "c.jpg")]
    found = read_event(events.batch(*records, {"eventSource": "aws:s3", "half a pair": "\ud800"}))
    assert isinstance(found, EventBatch)
    uploads = [read_event(one) for one in found.bodies[:3]]
    assert [one.key for one in uploads if isinstance(one, UploadEvent)] == [
        "drop/a.jpg",
        "drop/ü.jpg",
        "drop/c.jpg",
    ]


DELETION = {"Records": [events.record("drop/a", bucket=BUCKET, name="ObjectRemoved:Delete")]}
NO_UPLOAD: dict[str, Any] = {
    "no records": {"Records": []},
    "a deletion": DELETION,
    "a deletion by SNS": events.by_sns(DELETION),
    "a deletion by EventBridge": {
        **events.eventbridge("drop/a", bucket=BUCKET),
        "detail-type": "Object Deleted",
    },
}


@pytest.mark.parametrize("document", NO_UPLOAD.values(), ids=NO_UPLOAD)
def test_an_event_that_puts_no_object_is_no_upload(document: Any) -> None:
    found = read_event(json.dumps(document).encode())
    assert isinstance(found, UnknownMessage)
    assert found.kind == "no upload"


def test_a_test_event_is_distinguished_from_other_unknown_messages() -> None:
    found = read_event(b'{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}')
    assert isinstance(found, UnknownMessage)
    assert found.kind == "test event"


ENVELOPES: dict[str, Any] = {
    "SNS": events.by_sns,
    "SNS, twice": lambda event: events.by_sns(events.by_sns(event)),
    "SNS, raw": lambda event: event,
    "SNS by a Lambda function": lambda event: {
        "Records": [{"EventSource": "aws:sns", "Sns": events.by_sns(event)}]
    },
    "SQS by a Lambda function": lambda event: {
        "Records": [{"eventSource": "aws:sqs", "body": json.dumps(event)}]
    },
    "SQS by EventBridge Pipes": lambda event: {"eventSource": "aws:sqs", "body": json.dumps(event)},
    "a Lambda function's destination": lambda event: {
        "version": "1.0",
        "requestContext": {"condition": "Success"},
        "requestPayload": event,
        "responsePayload": None,
    },
}


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("key", ["drop/a.jpg", "drop/a b/ü+%2B.jpg"])
def test_an_event_is_the_same_in_every_envelope(envelope: Any, key: str) -> None:
    plain = read(key)
    assert plain.key == key
    event = {"Records": [events.record(key, bucket=BUCKET)]}
    assert read_event(json.dumps(envelope(event)).encode()) == plain
    # and an event of EventBridge, by itself or in an envelope, is the same upload
    other = envelope(events.eventbridge(key, bucket=BUCKET))
    assert read_event(json.dumps(other).encode()) == plain


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_an_envelope_may_hold_several_objects_or_a_test_event(envelope: Any) -> None:
    keys = ["drop/a.jpg", "drop/b.jpg"]
    event = {"Records": [events.record(key, bucket=BUCKET) for key in keys]}
    found = read_event(json.dumps(envelope(event)).encode())
    assert isinstance(found, EventBatch)
    uploads = [read_event(one) for one in found.bodies]
    assert [one.key for one in uploads if isinstance(one, UploadEvent)] == keys
    test = envelope({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})
    found = read_event(json.dumps(test).encode())
    assert isinstance(found, UnknownMessage)
    assert found.kind == "test event"


def test_several_notifications_of_one_lambda_event_are_one_body_for_each() -> None:
    plain = [events.record(f"drop/{number}.jpg", bucket=BUCKET) for number in range(2)]
    sns = [{"EventSource": "aws:sns", "Sns": events.by_sns({"Records": [one]})} for one in plain]
    found = read_event(json.dumps({"Records": sns}).encode())
    assert isinstance(found, EventBatch)
    assert [read_event(one) for one in found.bodies] == [read(f"drop/{number}.jpg") for number in range(2)]


def test_eventbridge_distinguishes_the_versions_of_an_object_too() -> None:
    one, other = (events.eventbridge("drop/a", bucket=BUCKET, sequencer=None) | {} for _ in range(2))
    one["detail"]["object"]["version-id"], other["detail"]["object"]["version-id"] = "v1", "v2"
    uploads = [read_event(json.dumps(event).encode()) for event in (one, other)]
    assert len({upload.job_id for upload in uploads if isinstance(upload, UploadEvent)}) == 2


def test_the_error_names_a_subscription_that_must_be_confirmed() -> None:
    event = {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:x:1:uploads", "SubscribeURL": "u"}
    with pytest.raises(MessageInvalid, match=r"SubscriptionConfirmation of 'arn:aws:sns:x:1:uploads'"):
        read_event(json.dumps(event).encode())


def deep(levels: int) -> bytes:
    event: Any = {"Records": [events.record("drop/a", bucket=BUCKET)]}
    for _ in range(levels):
        event = events.by_sns(event)
    return json.dumps(event).encode()


def changed(**more: Any) -> bytes:
    return events.batch(events.record("drop/a.jpg", bucket=BUCKET) | more)


def sns(message: object) -> bytes:
    return json.dumps({"Type": "Notification", "Message": message}).encode()


BROKEN = {
    "nothing": b"{}",
    "another program's": b'{"of": "somebody else"}',
    "a notification of a text": sns("hello"),
    "a notification of nothing": sns("{}"),
    "a notification without a message": b'{"Type": "Notification"}',
    "a notification of a number": sns(5),
    "a notification of an alarm": sns('{"AlarmName": "a", "NewStateValue": "ALARM"}'),
    "a notification of a message": sns('{"v": 1}'),
    "too many envelopes": deep(7),
    "another service's": b'{"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]}',
    "a record without a source": b'{"Records": [{}]}',
    "a record without a notification": b'{"Records": [{"EventSource": "aws:sns", "Sns": {}}]}',
    "another service's by EventBridge": b'{"source": "aws.ec2", "detail-type": "Object Created"}',
    "nothing by EventBridge": b'{"source": "aws.s3", "detail-type": "Object Created", "detail": {}}',
    "the end of a subscription": b'{"Type": "UnsubscribeConfirmation"}',
    "a destination without a request": b'{"requestPayload": null}',
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
def test_a_broken_event_is_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid, match="not an event of S3"):
        read_event(body)


def test_a_body_that_claims_to_be_a_message_is_no_event() -> None:
    assert read_event(b'{"v": 99, "Records": []}') is None
