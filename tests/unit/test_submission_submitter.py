"""Storing and sending an image: the order of effects, idempotency keys, and what the buckets tell later."""

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
from beholder.job import Failure, Job, JobInput, JobStatus, Message, Options, new_job_id
from beholder.job.job import Result
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Depth, Priority
from beholder.store.keys import image_key, image_prefix, result_key
from beholder.store.memory import MemoryStore
from beholder.store.s3 import _attributes_of as attributes_of
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.reply_sources import PolledReplies
from beholder.web.submission.request import Outcome, SubmissionRequest
from beholder.web.submission.submitter import Submitter
from helpers.rig import RecordedPort, Recorder

PLAIN = SubmissionRequest(data=b"data", file_name="a cat.jpg", options=Options(), model="first@1")
MODELS = (ServedModel("first", "1", "MIT", "", 4, "as-is", None),)
KEYED = replace(PLAIN, idempotency_key="once")


class Submissions:
    """A submitter and a lookup with everything in memory behind them, and a recorder of what they do."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.recorder = Recorder()
        self.queue = MemoryQueue(clock=self.clock)
        self.images = MemoryStore(clock=self.clock)
        self.results = MemoryStore(clock=self.clock)
        self.sent: list[int] = []
        ports = WebPorts(
            queue=RecordedPort(self.queue, "queue", self.recorder),
            replies=PolledReplies(MemoryQueue(clock=self.clock)),
            reply_to=lambda: "web-0",
            images=RecordedPort(self.images, "images", self.recorder),
            results=RecordedPort(self.results, "results", self.recorder),
            models=MODELS,
            clock=self.clock,
            on_sent=self.sent.append,
        )
        self.lookup = JobLookup(ports)
        self.submitter = Submitter(ports, self.lookup)

    def submit_all(self, *requests: SubmissionRequest) -> list[Job | Outcome | BeholderError]:
        return self.submitter.submit([(self.submitter.new_job_id(one), one) for one in requests])

    def submit(self, request: SubmissionRequest) -> Job | Outcome:
        (submitted,) = self.submit_all(request)
        if isinstance(submitted, BeholderError):
            raise submitted
        return submitted

    def submit_new(self, request: SubmissionRequest) -> Job:
        job = self.submit(request)
        assert isinstance(job, Job)
        return job

    def finish(self, job: Job) -> bytes:
        done = replace(job, status=JobStatus.SUCCEEDED, completed_at_s=self.clock.now_s(), result=Result(()))
        document = json.dumps(done.to_dict()).encode()
        self.results.put(result_key(job.id), document)
        return document

    def messages(self) -> list[Message]:
        return [Message.from_bytes(one.body) for one in self.queue.receive(count_max=10, wait_s=0)]

    def lose_messages(self) -> None:
        while received := self.queue.receive(count_max=10, wait_s=0):
            self.queue.ack([one.receipt for one in received])

    def image_keys(self) -> list[str]:
        return [info.key for info in self.images.list("")]


@pytest.fixture
def submissions() -> Submissions:
    return Submissions()


def test_the_image_is_stored_before_the_message_is_sent(submissions: Submissions) -> None:
    # when
    request = replace(PLAIN, wants_text=True, deadline_s=2e9, options=Options(top_k=3))
    job = submissions.submit_new(request)
    # then
    assert submissions.recorder.calls == ["images.put", "queue.send"]
    key = image_key(job.id, "a cat.jpg")
    assert submissions.images.get(key) == b"data"
    assert submissions.messages() == [
        Message(
            job.id,
            submissions.clock.now_s(),
            job.input,  # type: ignore[arg-type]
            reply_to="web-0",
            deadline_s=2e9,
            wants_text=True,
            model="first@1",
        )
    ]
    assert (job.status, job.created_at_s) == (JobStatus.QUEUED, submissions.clock.now_s())
    assert job.input is not None
    assert job.input == JobInput(key, "a cat.jpg", 4, Options(top_k=3))


def test_before_it_ran_a_job_names_the_model_that_will_run(submissions: Submissions) -> None:
    job = submissions.submit_new(replace(PLAIN, options=Options(model="mine"), model="mine@2"))
    assert (job.to_dict()["model"], job.model_version) == ("mine", "2")
    assert Job.from_dict(job.to_dict()).input == job.input


@pytest.mark.parametrize(
    ("model", "options", "metadata"),
    [
        ("first@1", Options(), {}),
        ("mine@2", Options(), {"model": "mine@2"}),
        (
            "mine@2",
            Options("mine", include=(3, 4)),
            {
                "options": {"model": "mine", "top_k": 5, "min_confidence": 0.0, "include": [3, 4]},
                "model": "mine@2",
            },
        ),
    ],
)
def test_a_job_whose_message_is_lost_keeps_its_model_and_its_filters(
    submissions: Submissions, model: str, options: Options, metadata: dict[str, object]
) -> None:
    sent = submissions.submit_new(replace(PLAIN, options=options, model=model))
    (key,) = submissions.image_keys()
    assert json.loads(submissions.images.head(key).metadata.get("order", "{}")) == metadata
    (before,) = [Message.from_bytes(one.body) for one in submissions.queue.receive(count_max=10, wait_s=0)]
    submissions.clock.advance(4000.0)
    found = submissions.lookup.find(sent.id)
    assert isinstance(found, Job)
    assert (found.model, found.model_version, found.input) == (sent.model, sent.model_version, sent.input)
    after = [Message.from_bytes(one.body) for one in submissions.queue.receive(count_max=10, wait_s=0)]
    assert [one.model for one in after if one.reply_to] == [before.model] * len(after)
    assert before.model == model
    assert len(after) >= 1


@pytest.mark.parametrize("character", ["n", " ", "%", "\\", "猫", "\N{CAT FACE}"])
def test_the_longest_filters_fit_into_the_metadata_of_an_object(
    submissions: Submissions, character: str
) -> None:
    classes = tuple(range(90_000, 90_000 + submissions.lookup._ports.limits.filter_labels_max))
    options = Options("m" * 100, 1000, 0.123456789, classes, classes)
    request = replace(PLAIN, options=options, model="m" * 100 + "@1", idempotency_key="a key")
    submissions.submit(replace(request, file_name=character * 100))
    (key,) = submissions.image_keys()
    metadata = submissions.images.head(key).metadata
    attributes_of(metadata)  # S3's store refuses what is too long
    assert ("file_name" in json.loads(metadata["order"])) == character.isascii()


def test_on_sent_is_called_with_the_messages_that_were_sent_and_no_others(
    submissions: Submissions,
) -> None:
    submissions.submit_all(
        SubmissionRequest(b"cat", "cat.jpg", Options()), SubmissionRequest(b"dog", "dog.jpg", Options())
    )
    submissions.recorder.failures["queue.send"] = BackendUnavailable("sqs queue", "send")
    submissions.submit_all(SubmissionRequest(b"hen", "hen.jpg", Options()))
    assert submissions.sent == [2]


def test_two_images_of_one_name_are_two_jobs(submissions: Submissions) -> None:
    first, second = submissions.submit_new(PLAIN), submissions.submit_new(PLAIN)
    assert first.id != second.id
    assert len(submissions.image_keys()) == 2


def test_an_image_of_an_earlier_request_stays_where_its_message_cannot_be_sent_again(
    submissions: Submissions,
) -> None:
    submissions.submit_new(KEYED)
    submissions.clock.advance(300)
    submissions.recorder.failures["queue.send"] = BackendUnavailable("sqlite queue", "send")
    with pytest.raises(BackendUnavailable):
        submissions.submit(KEYED)
    assert len(submissions.image_keys()) == 1


@pytest.mark.parametrize("sent", [PLAIN, KEYED])
@pytest.mark.parametrize("error", [BackendUnavailable("q", "send"), BackendFull("q", "send")])
def test_an_image_whose_message_cannot_be_sent_is_removed(
    submissions: Submissions, sent: SubmissionRequest, error: Exception
) -> None:
    # given
    submissions.recorder.failures["queue.send"] = error
    # when
    with pytest.raises(type(error)):
        submissions.submit(sent)
    # then: nothing was accepted and nothing is left behind
    looked = ["results.get"] if sent is KEYED else []
    assert submissions.recorder.calls == ["images.put", *looked, "queue.send", "images.delete"]
    assert submissions.image_keys() == []
    submissions.recorder.failures.clear()
    assert isinstance(submissions.submit(sent), Job)


def test_the_first_error_is_the_one_that_is_returned(submissions: Submissions) -> None:
    submissions.recorder.failures["queue.send"] = BackendFull("sqlite queue", "send")
    submissions.recorder.failures["images.delete"] = BackendUnavailable("folder store", "delete")
    with pytest.raises(BackendFull):
        submissions.submit(PLAIN)


def test_an_image_that_cannot_be_stored_sends_no_message(submissions: Submissions) -> None:
    submissions.recorder.failures["images.put"] = BackendFull("folder store", "put")
    with pytest.raises(BackendFull):
        submissions.submit(PLAIN)
    assert submissions.messages() == []


def test_a_batch_is_sent_at_once_when_all_its_images_are_stored(submissions: Submissions) -> None:
    jobs = submissions.submit_all(PLAIN, KEYED, PLAIN)
    assert submissions.recorder.calls == [
        "images.put",
        "images.put",
        "results.get",
        "images.put",
        "queue.send",
    ]
    assert [message.job_id for message in submissions.messages()] == [
        job.id for job in jobs if isinstance(job, Job)
    ]


def test_an_error_of_one_request_of_a_batch_does_not_affect_the_others(submissions: Submissions) -> None:
    # given: a finished key, and one that is reused
    finished = submissions.submit_new(KEYED)
    submissions.finish(finished)
    submissions.messages()
    # when
    results = submissions.submit_all(PLAIN, KEYED, replace(KEYED, data=b"other"), PLAIN)
    # then
    assert [type(one) for one in results] == [Job, Outcome, IdempotencyKeyReused, Job]
    assert len(submissions.messages()) == 2


def test_the_same_key_twice_in_a_batch_is_one_job(submissions: Submissions) -> None:
    first, second = submissions.submit_all(KEYED, KEYED)
    assert isinstance(first, Job)
    assert isinstance(second, IdempotencyKeyInUse)
    assert len(submissions.messages()) == 1


def test_a_batch_that_cannot_be_sent_leaves_nothing_of_what_it_stored(submissions: Submissions) -> None:
    # given
    finished = submissions.submit_new(KEYED)
    submissions.finish(finished)
    kept = submissions.image_keys()
    submissions.recorder.failures["queue.send"] = BackendUnavailable("sqlite queue", "send")
    # when
    results = submissions.submit_all(PLAIN, KEYED, PLAIN)
    # then: the finished job was not touched
    assert [type(one) for one in results] == [BackendUnavailable, Outcome, BackendUnavailable]
    assert submissions.image_keys() == kept


def test_nothing_new_sends_nothing(submissions: Submissions) -> None:
    assert submissions.submit_all() == []
    assert submissions.recorder.calls == []


# --- with an idempotency key --------------------------------------------------------------------------------


def test_a_key_gives_one_job_and_one_message(submissions: Submissions) -> None:
    job = submissions.submit_new(KEYED)
    with pytest.raises(IdempotencyKeyInUse):
        submissions.submit(KEYED)
    assert [message.job_id for message in submissions.messages()] == [job.id]
    assert len(submissions.image_keys()) == 1


def test_a_key_of_a_finished_job_gives_its_outcome(submissions: Submissions) -> None:
    # given
    job = submissions.submit_new(KEYED)
    submissions.messages()
    document = submissions.finish(job)
    # when
    again = submissions.submit(KEYED)
    # then
    assert isinstance(again, Outcome)
    assert (again.document, again.job.id) == (document, job.id)
    assert submissions.messages() == []


@pytest.mark.parametrize(
    "other",
    [replace(KEYED, data=b"other"), replace(KEYED, options=Options(top_k=3))],
    ids=["data", "options"],
)
def test_a_key_that_came_with_something_else_is_refused(
    submissions: Submissions, other: SubmissionRequest
) -> None:
    job = submissions.submit_new(KEYED)
    with pytest.raises(IdempotencyKeyReused):
        submissions.submit(other)
    submissions.finish(job)
    with pytest.raises(IdempotencyKeyReused):
        submissions.submit(other)
    assert submissions.images.get(submissions.image_keys()[0]) == b"data"


def test_another_file_name_is_the_same_request(submissions: Submissions) -> None:
    job = submissions.submit_new(KEYED)
    submissions.finish(job)
    assert isinstance(submissions.submit(replace(KEYED, file_name="b.jpg")), Outcome)


def test_a_message_that_may_be_lost_is_sent_again_and_not_before(submissions: Submissions) -> None:
    # given: the process died between the image and the message
    job = submissions.submit_new(KEYED)
    submissions.lose_messages()
    submissions.clock.advance(59)
    with pytest.raises(IdempotencyKeyInUse):
        submissions.submit(KEYED)
    # when
    submissions.clock.advance(1)
    again = submissions.submit_new(KEYED)
    # then
    assert again.id == job.id
    assert [message.job_id for message in submissions.messages()] == [job.id]
    # and not once more at the next repetition
    with pytest.raises(IdempotencyKeyInUse):
        submissions.submit(KEYED)


def test_a_key_whose_first_message_was_sent_though_it_was_refused_is_worked_on_again(
    submissions: Submissions,
) -> None:
    # given an attempt that SQS took and never told of, so that the worker found no image
    submissions.recorder.failures["queue.send"] = BackendUnavailable("queue", "send")
    with pytest.raises(BackendUnavailable):
        submissions.submit(KEYED)
    job_id = submissions.submitter.new_job_id(KEYED)
    gone = Failure(ImageGone.code, ImageGone.http_status, "gone")
    failed = Job(job_id, JobStatus.FAILED, 0.0, completed_at_s=1.0, error=gone)
    submissions.results.put(result_key(job_id), json.dumps(failed.to_dict()).encode())
    # when
    submissions.recorder.failures.clear()
    job = submissions.submit_new(KEYED)
    # then
    assert job.id == job_id
    assert [one.job_id for one in submissions.messages()] == [job_id]
    assert submissions.lookup.outcome(job_id) is None


def test_a_key_whose_earlier_outcome_cannot_be_looked_for_leaves_no_image(
    submissions: Submissions,
) -> None:
    submissions.recorder.failures["results.get"] = BackendUnavailable("store", "get")
    with pytest.raises(BackendUnavailable):
        submissions.submit(KEYED)
    assert submissions.image_keys() == []
    assert submissions.messages() == []


def test_two_keys_are_two_jobs_and_the_id_of_a_key_has_no_time(submissions: Submissions) -> None:
    first, second = (
        submissions.submit_new(KEYED),
        submissions.submit_new(replace(KEYED, idempotency_key="twice")),
    )
    assert first.id != second.id
    assert first.id.startswith("00000000-0000-7")


# --- what the buckets tell ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        PLAIN,
        KEYED,
        replace(PLAIN, options=Options(model="mine", top_k=3, min_confidence=0.5), model="mine@1"),
        replace(KEYED, options=Options(top_k=3), file_name="猫.jpg"),
        replace(PLAIN, file_name="C:\\photos\\a/b: c?.jpg"),
    ],
)
def test_an_unfinished_job_is_found_from_the_input_bucket_alone(
    submissions: Submissions, sent: SubmissionRequest
) -> None:
    job = submissions.submit_new(sent)
    submissions.lose_messages()
    found = submissions.lookup.find(job.id)
    assert found is not None
    assert found.to_dict() == job.to_dict()


def test_a_request_with_default_options_needs_no_metadata(submissions: Submissions) -> None:
    """It would cost a second object on some file systems, for each image."""
    submissions.submit(PLAIN)
    (key,) = submissions.image_keys()
    assert submissions.images.head(key).metadata == {}


def test_an_image_without_metadata_is_a_job_of_the_defaults(submissions: Submissions) -> None:
    job_id = new_job_id(submissions.clock.now_s())
    submissions.images.put(image_prefix(job_id) + "b.jpg", b"data")
    found = submissions.lookup.find(job_id)
    assert found is not None
    assert found.input is not None
    assert (found.input.options, found.input.file_name, found.input.image_bytes) == (Options(), "b.jpg", 4)


def test_an_unknown_job_is_neither_finished_nor_queued(submissions: Submissions) -> None:
    job_id = new_job_id(submissions.clock.now_s())
    assert submissions.lookup.outcome(job_id) is None
    assert submissions.lookup.find(job_id) is None


def test_a_result_that_cannot_be_read_is_no_outcome(submissions: Submissions) -> None:
    job = submissions.submit_new(PLAIN)
    for garbage in (b"", b"{}", b"[" * 100_000, json.dumps(job.to_dict()).encode()):
        submissions.results.put(result_key(job.id), garbage)
        assert submissions.lookup.outcome(job.id) is None


def test_a_batch_is_sent_by_class_and_interactive_messages_first(submissions: Submissions) -> None:
    # given
    plain = replace(PLAIN, priority=Priority.ASYNCHRONOUS)
    heavy = replace(PLAIN, priority=Priority.HEAVY)
    # when
    submitted = submissions.submit_all(plain, PLAIN, heavy, plain)
    # then
    assert all(isinstance(one, Job) for one in submitted)
    assert submissions.recorder.calls[-3:] == ["queue.send"] * 3
    assert submissions.queue.depth() == Depth(4, 0, 0)
    assert submissions.queue.depth().interactive == 1
    assert sum(submissions.sent) == 4


def test_if_one_class_cannot_be_sent_the_others_are_accepted(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    send = submissions.queue.send

    def refuse_asynchronous(bodies: Sequence[bytes], **more: Any) -> None:
        if more["priority"] == Priority.ASYNCHRONOUS:
            raise BackendFull("sqs queue", "send")
        send(bodies, **more)

    monkeypatch.setattr(submissions.queue, "send", refuse_asynchronous)
    # when
    plain = replace(PLAIN, priority=Priority.ASYNCHRONOUS)
    submitted = submissions.submit_all(plain, PLAIN, plain)
    # then
    assert [type(one) for one in submitted] == [BackendFull, Job, BackendFull]
    (message,) = submissions.messages()
    assert submissions.image_keys() == [message.input.image_key]
    assert submissions.sent == [1]


# --- lost messages ------------------------------------------------------------------------------------------

DONE = Job("", JobStatus.SUCCEEDED, 1.0, result=Result(()))
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


def taken(submissions: Submissions) -> list[Message]:
    """Take every message from the queue, as workers do that acknowledge them."""
    received = submissions.queue.receive(count_max=10, wait_s=0)
    submissions.queue.ack([one.receipt for one in received])
    return [Message.from_bytes(one.body) for one in received]


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_torn_outcome_whose_message_is_gone_is_made_again(torn: bytes) -> None:
    submissions = Submissions()
    job = submissions.submit(replace(PLAIN, options=Options(top_k=2)))
    assert isinstance(job, Job)
    (before,) = taken(submissions)
    submissions.results.put(result_key(job.id), torn)
    found = submissions.lookup.find(job.id)
    assert isinstance(found, Job)
    assert found.status is JobStatus.QUEUED
    (again,) = taken(submissions)
    assert (again.job_id, again.input) == (before.job_id, before.input)
    # Asked for again and again, it is sent after one minute, then after four, and so on.
    for _ in range(100):
        submissions.clock.advance(10.0)
        submissions.lookup.find(job.id)
    assert len(taken(submissions)) == 2


def test_a_deleted_outcome_is_made_again_when_the_queue_is_empty() -> None:
    submissions = Submissions()
    job = submissions.submit(PLAIN)
    assert isinstance(job, Job)
    assert taken(submissions)
    submissions.lookup.find(job.id)
    assert taken(submissions) == []  # it may be about to be sent
    submissions.clock.advance(60.0)
    submissions.lookup.find(job.id)
    assert [one.job_id for one in taken(submissions)] == [job.id]


def test_a_job_that_waits_is_not_sent_again() -> None:
    submissions = Submissions()
    job = submissions.submit(PLAIN)
    assert isinstance(job, Job)
    for _ in range(50):
        submissions.clock.advance(60.0)
        submissions.lookup.find(job.id)
    assert len(taken(submissions)) == 1


def test_behind_a_queue_that_is_never_empty_a_job_is_sent_again_in_the_end() -> None:
    submissions = Submissions()
    job = submissions.submit(PLAIN)
    assert isinstance(job, Job)
    assert taken(submissions)
    submissions.submit(PLAIN)
    submissions.clock.advance(4000.0)
    submissions.lookup.find(job.id)
    assert job.id in [one.job_id for one in taken(submissions)]


def test_an_outcome_that_arrives_meanwhile_is_returned() -> None:
    submissions = Submissions()
    job = submissions.submit(PLAIN)
    assert isinstance(job, Job)
    submissions.results.put(
        result_key(job.id), json.dumps(replace(job, status=JobStatus.SUCCEEDED).to_dict()).encode()
    )
    assert isinstance(submissions.lookup.find(job.id), Outcome)


def test_a_queue_that_fails_does_not_hide_the_job() -> None:
    submissions = Submissions()
    job = submissions.submit(PLAIN)
    assert isinstance(job, Job)
    submissions.clock.advance(60.0)
    submissions.recorder.failures["queue.depth"] = BackendUnavailable("queue", "depth")
    assert isinstance(submissions.lookup.find(job.id), Job)


def test_torn_metadata_costs_a_key_nothing_but_its_options() -> None:
    submissions = Submissions()
    job = submissions.submit(KEYED)
    assert isinstance(job, Job)
    assert job.input is not None
    submissions.images.put(job.input.image_key, KEYED.data, metadata={"order": "{"})
    submissions.clock.advance(100.0)
    assert isinstance(submissions.submit(KEYED), Job)
    submissions.images.put(job.input.image_key, KEYED.data)
    submissions.clock.advance(100.0)
    with pytest.raises(IdempotencyKeyReused):
        submissions.submit(replace(KEYED, data=b"another"))
