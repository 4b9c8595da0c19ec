"""The dead-letter consumer: a job that no worker could finish still ends with an outcome."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.errors import BackendUnavailable, JobAbandoned, JobDeleted
from beholder.job import Failure, Job, JobInput, Message, new_job_id
from beholder.results.messages import ParsedMessage, parse_body
from beholder.results.outcomes import failed_job, store_outcome, upload_document
from beholder.store.keys import dead_letter_key, result_key, unreadable_key, upload_result_key
from helpers import events
from helpers.rig import BUCKET, RecordedPort, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def dead_letter_consumer(rig: Rig) -> DeadLetterConsumer:
    writer = DeadLetterWriter(
        RecordedPort(rig.results, "results", rig.recorder),
        lambda name: RecordedPort(rig.replies[name], "replies", rig.recorder),
        rig.clock,
        input_bucket=BUCKET,
    )
    queue = RecordedPort(rig.dead_letters, "dead_letters", rig.recorder)
    return DeadLetterConsumer(queue, writer, wait_s=0.0)


def give_up(rig: Rig, message: Message) -> None:
    """Receive a message as often as it may be, so that the next receive moves it."""
    for _ in range(4):
        rig.queue.nack([one.receipt for one in rig.queue.receive(count_max=10, wait_s=0)])
    assert rig.is_idle()
    assert message


def kept(rig: Rig) -> list[str]:
    return [info.key for info in rig.results.list("dead/")]


def test_a_job_that_was_given_up_fails_and_its_web_process_gets_a_reply(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    # given
    message = rig.send(b"cat")
    give_up(rig, message)
    # when
    assert dead_letter_consumer.tick() == 0.0
    # then
    job = rig.result(message)
    assert (job["status"], job["error"]["code"], job["error"]["status"]) == ("failed", "job_abandoned", 500)
    assert job["input"]["image_key"] == message.input.image_key
    assert rig.replied() == [job]
    assert rig.images.get(message.input.image_key) == b"cat"
    assert rig.dead_letters.depth().in_flight == 0


def test_the_message_is_kept_so_that_it_can_be_sent_again(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    message = rig.send(b"cat")
    give_up(rig, message)
    dead_letter_consumer.tick()
    record: dict[str, Any] = json.loads(rig.results.get(dead_letter_key(message.job_id)))
    assert (record["job_id"], record["code"]) == (message.job_id, "job_abandoned")
    assert Message.from_bytes(record["message"].encode()) == message


def test_a_listing_needs_nothing_but_the_record(rig: Rig, dead_letter_consumer: DeadLetterConsumer) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    rig.clock.advance(7)
    dead_letter_consumer.tick()
    record: dict[str, Any] = json.loads(rig.results.get(dead_letter_key(message.job_id)))
    assert record["reason"] == JobAbandoned().message
    assert datetime.fromisoformat(record["at"]).timestamp() == rig.clock.now_s()
    assert (record["file_name"], record["image_key"]) == ("a.jpg", message.input.image_key)


def test_the_record_stands_before_the_outcome_the_outcome_before_the_reply_and_the_ack_is_last(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    give_up(rig, rig.send(b"cat"))
    dead_letter_consumer.tick()
    assert rig.recorder.calls == [
        "dead_letters.receive",
        "results.get",
        "results.put",
        "results.put",
        "replies.send",
        "dead_letters.ack",
    ]


def test_an_earlier_outcome_stands_and_is_what_the_reply_says(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    # given: a worker that stored its result and died each time before the ack
    message = rig.send(b"cat")
    rig.begun().tick()
    stored = rig.result(message)
    rig.replied()
    rig.dead_letters.send([message.to_bytes()])
    # when
    dead_letter_consumer.tick()
    # then
    assert rig.result(message) == stored
    assert stored["status"] == "succeeded"
    assert rig.replied() == [stored]


def test_no_letter_keeps_the_message_of_a_deleted_job(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    message = rig.send(b"cat", image=b"cat")
    deleted = failed_job(message, Failure(JobDeleted.code, JobDeleted.http_status, "Deleted."), 0.0)
    store_outcome(rig.results, deleted)
    rig.dead_letters.send([message.to_bytes()])
    dead_letter_consumer.tick()
    assert kept(rig) == []
    assert [job["error"]["code"] for job in rig.replied()] == ["job_deleted"]


def test_the_same_message_twice_is_one_outcome(rig: Rig, dead_letter_consumer: DeadLetterConsumer) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    dead_letter_consumer.tick()
    first = rig.results.get(result_key(message.job_id))
    rig.clock.advance(60)
    rig.dead_letters.send([message.to_bytes()])
    dead_letter_consumer.tick()
    assert rig.results.get(result_key(message.job_id)) == first
    assert kept(rig) == [dead_letter_key(message.job_id)]


HOSTILE = {
    "empty": b"",
    "no JSON": b"\xff\xfe",
    "an unknown body": b"{}",
    "a test event": b'{"Event": "s3:TestEvent"}',
    "an event of another bucket": events.body("drop/a.jpg", bucket="theirs"),
    "an uploaded object whose key no store takes": events.body("drop/a//b.jpg", bucket=BUCKET),
    "another version": b'{"v":99}',
    "too deep": b"[" * 100_000,
    "a job id that leads out of its folder": Message("../../x", 1.0, JobInput("k", "n", 1)).to_bytes(),
    "a time that is no date": Message(new_job_id(1.0), 1e300, JobInput("k", "n", 1)).to_bytes(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_body_that_cannot_be_read_is_kept_under_its_digest(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer, body: bytes
) -> None:
    # given: a good letter beside it
    rig.dead_letters.send([body])
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    # when
    dead_letter_consumer.tick()
    # then
    key = unreadable_key(hashlib.sha256(body).hexdigest())
    assert rig.results.get(key) == body
    metadata = rig.results.head(key).metadata
    assert 10 < len(metadata["reason"]) <= 300
    assert datetime.fromisoformat(metadata["at"]).timestamp() == rig.clock.now_s()
    assert set(kept(rig)) == {key, dead_letter_key(message.job_id)}
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


@pytest.mark.parametrize("call", ["results.put", "dead_letters.ack"])
def test_a_message_is_given_up_later_where_a_backend_fails(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer, call: str
) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    rig.recorder.failures[call] = BackendUnavailable("folder store", "put")
    with pytest.raises(BackendUnavailable):
        dead_letter_consumer.tick()
    rig.recorder.failures.clear()
    rig.clock.advance(31)
    dead_letter_consumer.tick()
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


def test_a_reply_that_cannot_be_sent_costs_nothing_else(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    rig.recorder.failures["replies.send"] = BackendUnavailable("sqlite queue", "send")
    dead_letter_consumer.tick()
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


def test_an_empty_queue_causes_no_effect(rig: Rig, dead_letter_consumer: DeadLetterConsumer) -> None:
    assert dead_letter_consumer.tick() == 0.0
    assert rig.recorder.calls == ["dead_letters.receive"]


# --- uploads ------------------------------------------------------------------------------------------------

KEY = "drop/cats/tom.jpg"


def job_of(body: bytes, now_s: float = 0.0) -> Job:
    parsed = parse_body(body, input_bucket=BUCKET, now_s=now_s)
    assert isinstance(parsed, ParsedMessage)
    return failed_job(parsed.message, Failure("image_truncated", 422, "cut off"), 2e9)


def given_up(rig: Rig, dead_letter_consumer: DeadLetterConsumer, *bodies: bytes) -> dict[str, Any]:
    rig.dead_letters.send(bodies)
    dead_letter_consumer.tick()
    assert rig.dead_letters.depth().in_flight == 0
    document: dict[str, Any] = json.loads(rig.results.get(upload_result_key(KEY)))
    return document


def test_an_upload_that_was_given_up_fails_at_its_own_key_and_keeps_its_image(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    rig.images.put(KEY, b"cat")
    body = events.body(KEY, bucket=BUCKET)
    job = given_up(rig, dead_letter_consumer, body)
    assert (job["status"], job["error"]["code"], job["urls"]) == ("failed", "job_abandoned", {})
    assert kept(rig) == [dead_letter_key(job["id"])]
    record = json.loads(rig.results.get(dead_letter_key(job["id"])))
    assert record["message"].encode() == body
    assert (record["file_name"], record["image_key"]) == ("tom.jpg", KEY)
    assert rig.images.get(KEY) == b"cat"
    assert result_key(job["id"]) not in {info.key for info in rig.results.list("")}


EARLIER = "2020-01-01T00:00:00Z"


def at(time: str, sequencer: str) -> bytes:
    record = events.record(KEY, bucket=BUCKET, sequencer=sequencer) | {"eventTime": time}
    return events.batch(record)


@pytest.mark.parametrize(
    ("there", "letter", "stands"),
    [
        (at(events.TIME, "1"), at(events.TIME, "1"), True),
        (at(events.TIME, "2"), at(EARLIER, "1"), True),
        (at(EARLIER, "1"), at(events.TIME, "2"), False),
    ],
    ids=["of the same object", "of a newer object", "of an older object"],
)
def test_a_result_stands_unless_it_is_of_an_older_object(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer, there: bytes, letter: bytes, *, stands: bool
) -> None:
    rig.results.put(upload_result_key(KEY), upload_document(job_of(there)))
    job = given_up(rig, dead_letter_consumer, letter)
    assert (job["error"]["code"] == "image_truncated") == stands


@pytest.mark.parametrize("torn", [b"", b"{}", b"[" * 100_000])
def test_a_torn_result_does_not_stand(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer, torn: bytes
) -> None:
    rig.results.put(upload_result_key(KEY), torn)
    job = given_up(rig, dead_letter_consumer, events.body(KEY, bucket=BUCKET))
    assert job["error"]["code"] == "job_abandoned"


def test_an_event_of_several_objects_is_a_dead_letter_for_each(
    rig: Rig, dead_letter_consumer: DeadLetterConsumer
) -> None:
    other = events.record("drop/b.jpg", bucket=BUCKET)
    given_up(rig, dead_letter_consumer, events.batch(events.record(KEY, bucket=BUCKET), other))
    assert len(kept(rig)) == 2
    assert json.loads(rig.results.get("results/drop/b.jpg"))["status"] == "failed"
