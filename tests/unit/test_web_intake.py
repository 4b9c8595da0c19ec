"""Taking one image in: the order of effects, and what an idempotency key leads to."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import (
    BackendFull,
    BackendUnavailable,
    BeholderError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ImageGone,
)
from beholder.job import Failure, Job, JobStatus, Message, Options, new_job_id
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Depth, Priority
from beholder.store.keys import image_key, image_prefix, result_key
from beholder.store.memory import MemoryStore
from beholder.web.intake import Intake, Order
from beholder.web.ports import WebPorts
from beholder.web.waiters import Outcome
from helpers.rig import Journal, Watched

PLAIN = Order(data=b"data", file_name="a cat.jpg", options=Options())
KEYED = replace(PLAIN, idempotency_key="once")


class Desk:
    """An intake with everything in memory behind it, and a journal of what it does."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.journal = Journal()
        self.queue = MemoryQueue(clock=self.clock)
        self.images = MemoryStore(clock=self.clock)
        self.results = MemoryStore(clock=self.clock)
        self.told: list[int] = []
        self.intake = Intake(
            WebPorts(
                queue=Watched(self.queue, "queue", self.journal),
                replies=MemoryQueue(clock=self.clock),
                reply_to=lambda: "web-0",
                images=Watched(self.images, "images", self.journal),
                results=Watched(self.results, "results", self.journal),
                models=(),
                clock=self.clock,
                on_sent=self.told.append,
            )
        )

    def accept_all(self, *orders: Order) -> list[Job | Outcome | BeholderError]:
        return self.intake.accept([(self.intake.new_job_id(order), order) for order in orders])

    def accept(self, order: Order) -> Job | Outcome:
        (accepted,) = self.accept_all(order)
        if isinstance(accepted, BeholderError):
            raise accepted
        return accepted

    def accept_new(self, order: Order) -> Job:
        job = self.accept(order)
        assert isinstance(job, Job)
        return job

    def finish(self, job: Job) -> bytes:
        done = replace(job, status=JobStatus.SUCCEEDED, completed_at_s=self.clock.now_s(), labels=())
        document = json.dumps(done.to_dict()).encode()
        self.results.put(result_key(job.id), document)
        return document

    def messages(self) -> list[Message]:
        return [Message.from_bytes(one.body) for one in self.queue.receive(count_max=10, wait_s=0)]

    def image_keys(self) -> list[str]:
        return [info.key for info in self.images.list("")]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_image_is_stored_before_the_message_is_sent(desk: Desk) -> None:
    # when
    order = replace(PLAIN, wants_text=True, deadline_s=2e9, trace="00-1-2-01", options=Options(top_k=3))
    job = desk.accept_new(order)
    # then
    assert desk.journal.calls == ["images.put", "queue.send"]
    key = image_key(job.id, "a cat.jpg")
    assert desk.images.get(key) == b"data"
    assert desk.messages() == [
        Message(
            job.id,
            desk.clock.now_s(),
            job.input,  # type: ignore[arg-type]
            Options(top_k=3),
            reply_to="web-0",
            deadline_s=2e9,
            wants_text=True,
            trace="00-1-2-01",
        )
    ]
    assert (job.status, job.created_at_s) == (JobStatus.QUEUED, desk.clock.now_s())
    assert job.input is not None
    assert (job.input.image_key, job.input.file_name, job.input.image_bytes) == (key, "a cat.jpg", 4)


def test_who_scales_the_fleet_is_told_of_what_was_sent_and_of_nothing_else(desk: Desk) -> None:
    desk.accept_all(Order(b"cat", "cat.jpg", Options()), Order(b"dog", "dog.jpg", Options()))
    desk.journal.failures["queue.send"] = BackendUnavailable("sqs queue", "send")
    desk.accept_all(Order(b"hen", "hen.jpg", Options()))
    assert desk.told == [2]


def test_two_images_of_one_name_are_two_jobs(desk: Desk) -> None:
    first, second = desk.accept_new(PLAIN), desk.accept_new(PLAIN)
    assert first.id != second.id
    assert len(desk.image_keys()) == 2


def test_an_image_of_an_earlier_request_stays_where_its_message_cannot_be_sent_again(desk: Desk) -> None:
    desk.accept_new(KEYED)
    desk.clock.advance(300)
    desk.journal.failures["queue.send"] = BackendUnavailable("sqlite queue", "send")
    with pytest.raises(BackendUnavailable):
        desk.accept(KEYED)
    assert len(desk.image_keys()) == 1


@pytest.mark.parametrize("order", [PLAIN, KEYED])
@pytest.mark.parametrize("error", [BackendUnavailable("q", "send"), BackendFull("q", "send")])
def test_an_image_whose_message_cannot_be_sent_is_removed(desk: Desk, order: Order, error: Exception) -> None:
    # given
    desk.journal.failures["queue.send"] = error
    # when
    with pytest.raises(type(error)):
        desk.accept(order)
    # then: nothing was accepted and nothing is left behind
    looked = ["results.get"] if order is KEYED else []
    assert desk.journal.calls == ["images.put", *looked, "queue.send", "images.delete"]
    assert desk.image_keys() == []
    desk.journal.failures.clear()
    assert isinstance(desk.accept(order), Job)


def test_the_first_error_is_the_one_that_is_told(desk: Desk) -> None:
    desk.journal.failures["queue.send"] = BackendFull("sqlite queue", "send")
    desk.journal.failures["images.delete"] = BackendUnavailable("folder store", "delete")
    with pytest.raises(BackendFull):
        desk.accept(PLAIN)


def test_an_image_that_cannot_be_stored_sends_no_message(desk: Desk) -> None:
    desk.journal.failures["images.put"] = BackendFull("folder store", "put")
    with pytest.raises(BackendFull):
        desk.accept(PLAIN)
    assert desk.messages() == []


def test_a_batch_is_sent_at_once_when_all_its_images_are_stored(desk: Desk) -> None:
    jobs = desk.accept_all(PLAIN, KEYED, PLAIN)
    assert desk.journal.calls == ["images.put", "images.put", "results.get", "images.put", "queue.send"]
    assert [message.job_id for message in desk.messages()] == [job.id for job in jobs if isinstance(job, Job)]


def test_what_is_wrong_with_one_order_of_a_batch_harms_no_other(desk: Desk) -> None:
    # given: a finished key, and one that is reused
    finished = desk.accept_new(KEYED)
    desk.finish(finished)
    desk.messages()
    # when
    results = desk.accept_all(PLAIN, KEYED, replace(KEYED, data=b"other"), PLAIN)
    # then
    assert [type(one) for one in results] == [Job, Outcome, IdempotencyKeyReused, Job]
    assert len(desk.messages()) == 2


def test_the_same_key_twice_in_a_batch_is_one_job(desk: Desk) -> None:
    first, second = desk.accept_all(KEYED, KEYED)
    assert isinstance(first, Job)
    assert isinstance(second, IdempotencyKeyInUse)
    assert len(desk.messages()) == 1


def test_a_batch_that_cannot_be_sent_leaves_nothing_of_what_it_stored(desk: Desk) -> None:
    # given
    finished = desk.accept_new(KEYED)
    desk.finish(finished)
    kept = desk.image_keys()
    desk.journal.failures["queue.send"] = BackendUnavailable("sqlite queue", "send")
    # when
    results = desk.accept_all(PLAIN, KEYED, PLAIN)
    # then: the finished job was not touched
    assert [type(one) for one in results] == [BackendUnavailable, Outcome, BackendUnavailable]
    assert desk.image_keys() == kept


def test_nothing_new_sends_nothing(desk: Desk) -> None:
    assert desk.accept_all() == []
    assert desk.journal.calls == []


# --- with an idempotency key --------------------------------------------------------------------------------


def test_a_key_gives_one_job_and_one_message(desk: Desk) -> None:
    job = desk.accept_new(KEYED)
    with pytest.raises(IdempotencyKeyInUse):
        desk.accept(KEYED)
    assert [message.job_id for message in desk.messages()] == [job.id]
    assert len(desk.image_keys()) == 1


def test_a_key_of_a_finished_job_gives_its_outcome(desk: Desk) -> None:
    # given
    job = desk.accept_new(KEYED)
    desk.messages()
    document = desk.finish(job)
    # when
    again = desk.accept(KEYED)
    # then
    assert isinstance(again, Outcome)
    assert (again.document, again.job.id) == (document, job.id)
    assert desk.messages() == []


@pytest.mark.parametrize(
    "other",
    [replace(KEYED, data=b"other"), replace(KEYED, options=Options(top_k=3))],
    ids=["data", "options"],
)
def test_a_key_that_came_with_something_else_is_refused(desk: Desk, other: Order) -> None:
    job = desk.accept_new(KEYED)
    with pytest.raises(IdempotencyKeyReused):
        desk.accept(other)
    desk.finish(job)
    with pytest.raises(IdempotencyKeyReused):
        desk.accept(other)
    assert desk.images.get(desk.image_keys()[0]) == b"data"


def test_another_file_name_is_the_same_request(desk: Desk) -> None:
    job = desk.accept_new(KEYED)
    desk.finish(job)
    assert isinstance(desk.accept(replace(KEYED, file_name="b.jpg")), Outcome)


def test_a_message_that_may_be_lost_is_sent_again_and_not_before(desk: Desk) -> None:
    # given: the process died between the image and the message
    job = desk.accept_new(KEYED)
    desk.queue.purge()
    desk.clock.advance(59)
    with pytest.raises(IdempotencyKeyInUse):
        desk.accept(KEYED)
    # when
    desk.clock.advance(1)
    again = desk.accept_new(KEYED)
    # then
    assert again.id == job.id
    assert [message.job_id for message in desk.messages()] == [job.id]
    # and not once more at the next repetition
    with pytest.raises(IdempotencyKeyInUse):
        desk.accept(KEYED)


def test_a_key_whose_first_message_was_sent_though_it_was_refused_is_worked_on_again(desk: Desk) -> None:
    # given an attempt that SQS took and never told of, so that the worker found no image
    desk.journal.failures["queue.send"] = BackendUnavailable("queue", "send")
    with pytest.raises(BackendUnavailable):
        desk.accept(KEYED)
    job_id = desk.intake.new_job_id(KEYED)
    gone = Failure(ImageGone.code, ImageGone.http_status, "gone")
    failed = Job(job_id, JobStatus.FAILED, 0.0, completed_at_s=1.0, error=gone)
    desk.results.put(result_key(job_id), json.dumps(failed.to_dict()).encode())
    # when
    desk.journal.failures.clear()
    job = desk.accept_new(KEYED)
    # then
    assert job.id == job_id
    assert [one.job_id for one in desk.messages()] == [job_id]
    assert desk.intake.look(job_id) is None


def test_a_key_whose_earlier_outcome_cannot_be_looked_for_leaves_no_image(desk: Desk) -> None:
    desk.journal.failures["results.get"] = BackendUnavailable("store", "get")
    with pytest.raises(BackendUnavailable):
        desk.accept(KEYED)
    assert desk.image_keys() == []
    assert desk.messages() == []


def test_two_keys_are_two_jobs_and_a_key_says_nothing_of_its_time(desk: Desk) -> None:
    first, second = desk.accept_new(KEYED), desk.accept_new(replace(KEYED, idempotency_key="twice"))
    assert first.id != second.id
    assert first.id.startswith("00000000-0000-7")


# --- what the buckets tell ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        PLAIN,
        KEYED,
        replace(PLAIN, options=Options(model="mine", top_k=3, min_confidence=0.5)),
        replace(KEYED, options=Options(top_k=3), file_name="猫.jpg"),
    ],
)
def test_an_unfinished_job_is_found_from_the_input_bucket_alone(desk: Desk, order: Order) -> None:
    job = desk.accept_new(order)
    desk.queue.purge()
    found = desk.intake.find(job.id)
    assert found is not None
    assert found.to_dict() == job.to_dict()


def test_a_plain_order_needs_no_metadata(desk: Desk) -> None:
    """It would cost a second object on some file systems, for each image."""
    desk.accept(PLAIN)
    (key,) = desk.image_keys()
    assert desk.images.head(key).metadata == {}


def test_an_image_without_metadata_is_a_job_of_the_defaults(desk: Desk) -> None:
    job_id = new_job_id(desk.clock.now_s())
    desk.images.put(image_prefix(job_id) + "b.jpg", b"data")
    found = desk.intake.find(job_id)
    assert found is not None
    assert found.input is not None
    assert (found.options, found.input.file_name, found.input.image_bytes) == (Options(), "b.jpg", 4)


def test_an_unknown_job_is_neither_finished_nor_queued(desk: Desk) -> None:
    job_id = new_job_id(desk.clock.now_s())
    assert desk.intake.look(job_id) is None
    assert desk.intake.find(job_id) is None


def test_a_result_that_cannot_be_read_is_no_outcome(desk: Desk) -> None:
    job = desk.accept_new(PLAIN)
    for garbage in (b"", b"{}", b"[" * 100_000, json.dumps(job.to_dict()).encode()):
        desk.results.put(result_key(job.id), garbage)
        assert desk.intake.look(job.id) is None


def test_a_batch_is_sent_by_class_and_interactive_messages_first(desk: Desk) -> None:
    # given
    plain = replace(PLAIN, priority=Priority.ASYNCHRONOUS)
    heavy = replace(PLAIN, priority=Priority.HEAVY)
    # when
    accepted = desk.accept_all(plain, PLAIN, heavy, plain)
    # then
    assert all(isinstance(one, Job) for one in accepted)
    assert desk.journal.calls[-3:] == ["queue.send"] * 3
    assert desk.queue.depth() == Depth(4, 0, 0)
    assert desk.queue.depth().interactive == 1
    assert sum(desk.told) == 4


def test_where_one_class_cannot_be_sent_the_others_are_accepted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    send = desk.queue.send

    def refuse_asynchronous(bodies: Sequence[bytes], **more: Any) -> None:
        if more["priority"] == Priority.ASYNCHRONOUS:
            raise BackendFull("sqs queue", "send")
        send(bodies, **more)

    monkeypatch.setattr(desk.queue, "send", refuse_asynchronous)
    # when
    plain = replace(PLAIN, priority=Priority.ASYNCHRONOUS)
    accepted = desk.accept_all(plain, PLAIN, plain)
    # then
    assert [type(one) for one in accepted] == [BackendFull, Job, BackendFull]
    (message,) = desk.messages()
    assert desk.image_keys() == [message.input.image_key]
    assert desk.told == [1]


# --- lost messages ------------------------------------------------------------------------------------------

DONE = Job("", JobStatus.SUCCEEDED, 1.0, labels=())
TORN = {
    "empty": b"",
    "zeros": bytes(300),
    "cut off": json.dumps(DONE.to_dict()).encode()[:-9],
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "another version": b'{"version": 2}',
    "not finished": json.dumps(DONE.to_dict() | {"status": "queued"}).encode(),
    "another job's": json.dumps(DONE.to_dict() | {"id": new_job_id(5.0)}).encode(),
}


def taken(desk: Desk) -> list[Message]:
    """Take every message from the queue, as workers do that acknowledge them."""
    received = desk.queue.receive(count_max=10, wait_s=0)
    desk.queue.ack([one.receipt for one in received])
    return [Message.from_bytes(one.body) for one in received]


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_torn_outcome_whose_message_is_gone_is_made_again(torn: bytes) -> None:
    desk = Desk()
    job = desk.accept(replace(PLAIN, options=Options(top_k=2)))
    assert isinstance(job, Job)
    (before,) = taken(desk)
    desk.results.put(result_key(job.id), torn)
    found = desk.intake.look(job.id) or desk.intake.find(job.id)
    assert isinstance(found, Job)
    assert found.status is JobStatus.QUEUED
    (again,) = taken(desk)
    assert (again.job_id, again.input, again.options) == (before.job_id, before.input, before.options)
    # Asked for again and again, it is sent after one minute, then after four, and so on.
    for _ in range(100):
        desk.clock.advance(10.0)
        desk.intake.find(job.id)
    assert len(taken(desk)) == 2


def test_a_deleted_outcome_is_made_again_when_the_queue_is_empty() -> None:
    desk = Desk()
    job = desk.accept(PLAIN)
    assert isinstance(job, Job)
    assert taken(desk)
    desk.intake.find(job.id)
    assert taken(desk) == []  # it may be about to be sent
    desk.clock.advance(60.0)
    desk.intake.find(job.id)
    assert [one.job_id for one in taken(desk)] == [job.id]


def test_a_job_that_waits_is_not_sent_again() -> None:
    desk = Desk()
    job = desk.accept(PLAIN)
    assert isinstance(job, Job)
    for _ in range(50):
        desk.clock.advance(60.0)
        desk.intake.find(job.id)
    assert len(taken(desk)) == 1


def test_behind_a_queue_that_is_never_empty_a_job_is_sent_again_in_the_end() -> None:
    desk = Desk()
    job = desk.accept(PLAIN)
    assert isinstance(job, Job)
    assert taken(desk)
    desk.accept(PLAIN)
    desk.clock.advance(4000.0)
    desk.intake.find(job.id)
    assert job.id in [one.job_id for one in taken(desk)]


def test_an_outcome_that_comes_meanwhile_is_told() -> None:
    desk = Desk()
    job = desk.accept(PLAIN)
    assert isinstance(job, Job)
    desk.results.put(
        result_key(job.id), json.dumps(replace(job, status=JobStatus.SUCCEEDED).to_dict()).encode()
    )
    assert isinstance(desk.intake.find(job.id), Outcome)


def test_a_queue_that_fails_does_not_hide_the_job() -> None:
    desk = Desk()
    job = desk.accept(PLAIN)
    assert isinstance(job, Job)
    desk.clock.advance(60.0)
    desk.journal.failures["queue.depth"] = BackendUnavailable("queue", "depth")
    assert isinstance(desk.intake.find(job.id), Job)


def test_torn_metadata_costs_a_key_nothing_but_its_options() -> None:
    desk = Desk()
    job = desk.accept(KEYED)
    assert isinstance(job, Job)
    assert job.input is not None
    desk.images.put(job.input.image_key, KEYED.data, metadata={"order": "{"})
    desk.clock.advance(100.0)
    assert isinstance(desk.accept(KEYED), Job)
    desk.images.put(job.input.image_key, KEYED.data)
    desk.clock.advance(100.0)
    with pytest.raises(IdempotencyKeyReused):
        desk.accept(replace(KEYED, data=b"another"))
