"""An object that any tool puts into the bucket is recognised, and its result is that of the newest one."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import BackendUnavailable
from beholder.job import JobInput, Message, is_job_id, new_job_id
from beholder.store.keys import result_key, upload_result_key
from beholder.worker.consumer import Consumer
from helpers import events
from helpers.rig import BUCKET, Rig, take_all

KEY = "drop/a b/tom.jpg"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def put(rig: Rig, data: bytes, key: str = KEY, *, number: int = 1) -> bytes:
    """Put an object as any tool does; return the event that S3 sends."""
    rig.images.put(key, data)
    return events.body(key, bucket=BUCKET, size=len(data), sequencer=f"{number:016X}")


def upload(rig: Rig, data: bytes, key: str = KEY, *, number: int = 1) -> None:
    """Put an object, and let its event arrive."""
    rig.queue.send([put(rig, data, key, number=number)])


def result(rig: Rig, key: str = KEY) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(rig.results.get(upload_result_key(key)))
    return document


def label(rig: Rig, key: str = KEY) -> str:
    name: str = result(rig, key)["result"]["labels"][0]["name"]
    return name


def test_an_upload_has_its_result_at_the_same_key(rig: Rig) -> None:
    worker = rig.begun()
    upload(rig, b"dog")
    worker.tick()
    assert [info.key for info in rig.results.list("")] == ["results/drop/a b/tom.jpg"]
    job = result(rig)
    assert (job["status"], label(rig)) == ("succeeded", "dog")
    assert is_job_id(job["id"])
    assert job["created_at"] == events.TIME
    assert (job["input"]["image_key"], job["input"]["file_name"]) == (KEY, "tom.jpg")
    assert job["urls"] == {}
    assert "replies.send" not in rig.recorder.calls
    assert rig.is_idle()


def test_uploads_and_submitted_jobs_share_a_batch(rig: Rig) -> None:
    worker = rig.begun()
    upload(rig, b"dog")
    message = rig.send(b"hen")
    worker.tick()
    assert rig.classifiers["first@1"].batches == [2]
    assert (label(rig), rig.label(message)) == ("dog", "hen")
    assert [job["id"] for job in rig.replied()] == [message.job_id]


def test_the_same_event_twice_is_one_job_and_one_result(rig: Rig) -> None:
    worker = rig.begun()
    rig.queue.send([put(rig, b"dog")] * 2)
    worker.tick()
    first = result(rig)["id"]
    upload(rig, b"dog")
    worker.tick()
    assert result(rig)["id"] == first
    assert rig.is_idle()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_newest_object_counts_in_whatever_order_the_events_come(rig: Rig, order: tuple[int, int]) -> None:
    worker = rig.begun()
    bodies = {1: put(rig, b"cat", number=1), 2: put(rig, b"dog", number=2)}
    for number in order:
        rig.queue.send([bodies[number]])
        worker.tick()
        assert label(rig) == "dog"
    assert rig.is_idle()


def test_a_slow_worker_does_not_leave_the_result_of_an_older_object(rig: Rig) -> None:
    # given: a worker that has read the object, and is overtaken by another that processes a newer one
    slow, fast = rig.begun("worker-0"), rig.begun("worker-1")
    upload(rig, b"cat", number=1)
    overtake(rig, fast, b"dog")
    # when
    slow.tick()
    # then: it wrote the result of the older object last, and notices
    assert rig.queue.depth().backlog == 1
    slow.tick()
    assert label(rig) == "dog"
    assert rig.is_idle()


def overtake(rig: Rig, fast: Consumer, data: bytes) -> None:
    """Let another worker do all its work on a newer object while the first classifies."""
    classify = rig.classifiers["first@1"].classify

    def overtaken(images: Any) -> Any:
        rig.classifiers["first@1"].classify = classify  # type: ignore[method-assign]
        upload(rig, data, number=2)
        fast.tick()
        assert label(rig) == data.decode()
        return classify(images)

    rig.classifiers["first@1"].classify = overtaken  # type: ignore[method-assign]


@pytest.mark.parametrize("later", [b"dog", b"!", None])
@pytest.mark.parametrize("earlier", [b"cat", b"!", None])
def test_the_result_follows_whatever_becomes_of_the_object_meanwhile(
    rig: Rig, earlier: bytes | None, later: bytes | None
) -> None:
    # given: an object that changes, once, after the first look
    worker = rig.begun(map_items=changing_after(rig, later))
    upload(rig, earlier or b"cat")
    if earlier is None:
        rig.images.delete(KEY)
    # when
    for _ in range(3):
        worker.tick()
    # then
    code = {b"!": "image_truncated", None: "image_gone"}.get(later)
    if code is None:
        assert label(rig) == "dog"
    else:
        assert (result(rig)["status"], result(rig)["error"]["code"]) == ("failed", code)
    assert rig.is_idle()


def changing_after(rig: Rig, later: bytes | None) -> Any:
    """Return a `map_items` after whose first use the object is replaced."""
    uses = 0

    def map_items(function: Any, items: Any) -> list[Any]:
        nonlocal uses
        made = [function(one) for one in items]
        if items and uses == 0:
            if later is None:
                rig.images.delete(KEY)
            else:
                rig.images.put(KEY, later)
        uses += bool(items)
        return made

    return map_items


def test_an_object_that_is_too_long_is_not_read(rig: Rig) -> None:
    worker = rig.begun(image_bytes_max=3)
    upload(rig, b"cats")
    upload(rig, b"dog", "drop/short.jpg")
    worker.tick()
    assert result(rig)["error"]["code"] == "image_too_large"
    assert label(rig, "drop/short.jpg") == "dog"
    assert rig.recorder.calls.count("images.get") == 2  # the short one, before and after


def test_an_image_of_the_api_is_read_without_asking_for_its_length(rig: Rig) -> None:
    worker = rig.begun(image_bytes_max=3)
    message = rig.send(b"cats")
    worker.tick()
    assert rig.label(message) == "cat"
    assert "images.head" not in rig.recorder.calls


def test_an_event_of_several_objects_is_processed_object_by_object(rig: Rig) -> None:
    worker = rig.begun()
    keys = [f"drop/{number}.jpg" for number in range(3)]
    for key in keys:
        rig.images.put(key, b"owl")
    rig.queue.send([events.batch(*(events.record(key, bucket=BUCKET) for key in keys))])
    worker.tick()
    assert rig.recorder.calls == ["queue.receive", "queue.send", "queue.ack"]
    worker.tick()
    assert [label(rig, key) for key in keys] == ["owl"] * 3
    assert rig.is_idle()


UNKNOWN = {
    "worker.test_event": b'{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"input-bucket"}',
    "worker.unknown_message a web process's": events.body("images/a.jpg", bucket=BUCKET),
    "worker.unknown_message a deletion": events.body(KEY, bucket=BUCKET, name="ObjectRemoved:Delete"),
    "worker.folder_marker": events.body("drop/a b/", bucket=BUCKET, size=0),
    "worker.folder_marker of all": events.body("drop/", bucket=BUCKET, size=0),
}


@pytest.mark.parametrize(("name", "body"), UNKNOWN.items(), ids=UNKNOWN)
def test_an_unknown_message_is_acked_with_a_log_line(
    rig: Rig, name: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    worker = rig.begun()
    message = rig.send(b"cat")
    rig.queue.send([body])
    with caplog.at_level(logging.INFO):
        worker.tick()
    assert [one.action for one in caplog.records if hasattr(one, "action")] == [name.partition(" ")[0]]
    assert rig.is_idle()
    assert rig.dead_letters.depth().backlog == 0
    assert rig.label(message) == "cat"


DEAD = {
    "a notification of a text": b'{"Type":"Notification","Message":"hello"}',
    "another folder": events.body("photos/a.jpg", bucket=BUCKET),
    "another bucket": events.body(KEY, bucket="theirs"),
    "another bucket by SNS": json.dumps(
        events.by_sns({"Records": [events.record(KEY, bucket="theirs")]})
    ).encode(),
    "a subscription to confirm": b'{"Type":"SubscriptionConfirmation","SubscribeURL":"https://127.0.0.1/"}',
    "another program's": b'{"of":"somebody else"}',
    "a key that no store takes": events.body("drop/a//b.jpg", bucket=BUCKET),
    "a key that leads out": events.body("drop/../images/a.jpg", bucket=BUCKET),
    "a folder with content": events.body("drop/a/", bucket=BUCKET, size=5),
    "a key too long beside results/": events.body("drop/" + "a/" * 506 + "a", bucket=BUCKET),
    "a broken event": b'{"Records": 5}',
    "a broken message": b'{"v": 1, "Records": []}',
    "another version": b'{"v": 2}',
    "no JSON": b"hello",
}


@pytest.mark.parametrize("body", DEAD.values(), ids=DEAD)
def test_a_broken_body_goes_to_the_dead_letters(rig: Rig, body: bytes) -> None:
    worker = rig.begun()
    rig.queue.send([body])
    worker.tick()
    assert [one.body for one in take_all(rig.dead_letters)] == [body]
    assert rig.is_idle()


def test_where_no_uploads_are_taken_an_upload_event_goes_to_the_dead_letters(rig: Rig) -> None:
    worker = rig.begun(input_bucket="")
    upload(rig, b"cat")
    worker.tick()
    assert list(rig.results.list("")) == []
    assert rig.is_idle()
    assert len(take_all(rig.dead_letters)) == 1


@pytest.mark.parametrize("kind", ["SNS", "EventBridge", "EventBridge by SNS"])
def test_an_upload_event_in_an_envelope_is_recognised(rig: Rig, kind: str) -> None:
    worker = rig.begun()
    rig.images.put(KEY, b"hen")
    event: Any = {"Records": [events.record(KEY, bucket=BUCKET)]}
    if "EventBridge" in kind:
        event = events.eventbridge(KEY, bucket=BUCKET)
    if "SNS" in kind:
        event = events.by_sns(event)
    rig.queue.send([json.dumps(event).encode()])
    worker.tick()
    assert label(rig) == "hen"
    assert rig.is_idle()
    assert rig.dead_letters.depth().backlog == 0


@pytest.mark.parametrize("call", ["images.get", "results.put", "queue.ack"])
def test_a_backend_that_is_away_costs_an_upload_nothing(rig: Rig, call: str) -> None:
    worker = rig.begun()
    upload(rig, b"dog")
    rig.recorder.failures[call] = BackendUnavailable("s3 store", call)
    with pytest.raises(BackendUnavailable):
        worker.tick()
    rig.recorder.failures.clear()
    worker.tick()
    assert label(rig) == "dog"
    assert rig.is_idle()


def test_a_message_may_name_an_uploaded_image_and_stays_a_submitted_job(rig: Rig) -> None:
    worker = rig.begun()
    job_id = new_job_id(1.0)
    rig.images.put(KEY, b"dog")
    message = Message(job_id, 1.0, JobInput(KEY, "tom.jpg", 3))
    rig.queue.send([message.to_bytes()])
    worker.tick()
    assert [info.key for info in rig.results.list("")] == [result_key(job_id)]
    assert rig.label(message) == "dog"
