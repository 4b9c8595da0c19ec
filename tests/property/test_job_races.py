"""Cancelling, deleting, finishing and looking at one job at the same time, in any order of their calls."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.clock import ManualClock
from beholder.errors import IdempotencyKeyInUse, IdempotencyKeyReused, JobNotFound, ObjectNotFound
from beholder.job import Failure, Job, JobInput, JobStatus, Options, new_job_id
from beholder.job.job import Result
from beholder.queue.memory import MemoryQueue
from beholder.results.outcomes import store_outcome
from beholder.store.keys import canceled_key, image_key, result_key
from beholder.store.memory import MemoryStore
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.deletion import JobDeleter
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.reply_sources import PolledReplies
from beholder.web.submission.request import Outcome, SubmissionRequest
from beholder.web.submission.retry import failed_job_of, retry_id
from beholder.web.submission.submitter import Submitter, keyed_job_id
from helpers.interleaving import Interleaving

ORDERS = st.lists(st.integers(0, 11), max_size=60)
LOOKS = 5
KEY = "mine"
HOUR_S = 3600.0


class World:
    """One accepted job; the web processes and workers that share its buckets."""

    def __init__(self, order: list[int], job_id: str = "", file_name: str = "a.jpg") -> None:
        self.clock = ManualClock()
        self.job_id = job_id or new_job_id(self.clock.now_s())
        self.images, self.results = MemoryStore(clock=self.clock), MemoryStore(clock=self.clock)
        self.key = image_key(self.job_id, file_name)
        self.images.put(self.key, b"cat")
        left = iter(order)
        self.interleaving = Interleaving(lambda count: next(left, 0) % count)
        self.queue = MemoryQueue(clock=self.clock)
        self.ports = WebPorts(
            queue=self.queue,
            replies=PolledReplies(MemoryQueue(clock=self.clock)),
            reply_to=lambda: "web-0",
            images=self.interleaving.port(self.images),
            results=self.interleaving.port(self.results),
            models=(ServedModel("first", "1", "MIT", "", 4, "as-is", None),),
            clock=self.clock,
        )
        self.lookup = JobLookup(self.ports)

    def cancel(self) -> bytes:
        outcome = JobCanceler(self.lookup, self.ports.results, self.clock).cancel(self.job_id)
        assert outcome is not None
        return outcome.document

    def repeat(self) -> object:
        """Send the image again with its idempotency key."""
        request = SubmissionRequest(b"cat", "a.jpg", Options(), idempotency_key=KEY)
        (answer,) = Submitter(self.ports, self.lookup).submit([(self.job_id, request)])
        return answer

    def put(self, data: bytes) -> object:
        """Send an image with the job's id."""
        request = SubmissionRequest(data, "image", Options(), job_id=self.job_id)
        (answer,) = Submitter(self.ports, self.lookup).submit([(self.job_id, request)])
        return answer

    def fail(self) -> Outcome:
        failure = Failure("job_abandoned", 500, "given up")
        job = replace(self.result(0.25), status=JobStatus.FAILED, result=None, error=failure)
        return Outcome(job, store_outcome(self.results, job))

    def retry(self) -> object:
        """Do as the route of a retry does."""
        try:
            job = failed_job_of(self.lookup.find(self.job_id))
            data = self.ports.images.get(self.key)
        except (JobNotFound, ObjectNotFound) as exc:
            return exc
        request = SubmissionRequest(data, "a.jpg", Options(), job_id=retry_id(job))
        (answer,) = Submitter(self.ports, self.lookup).submit([(retry_id(job), request)])
        return answer

    def delete(self) -> bytes:
        canceler = JobCanceler(self.lookup, self.ports.results, self.clock)
        deleter = JobDeleter(canceler, self.ports.images, self.ports.results, self.clock)
        outcome = deleter.delete(self.job_id)
        assert outcome is not None
        return outcome.document

    def finish(self, confidence: float) -> Callable[[], bytes]:
        """Return what a worker does at the end; no two results are alike."""
        return lambda: store_outcome(self.ports.results, self.result(confidence))

    def result(self, confidence: float) -> Job:
        return Job(
            self.job_id,
            JobStatus.SUCCEEDED,
            self.clock.now_s(),
            completed_at_s=self.clock.now_s() + confidence,
            input=JobInput(self.key, "a.jpg", 3),
            result=Result(()),
        )

    def look(self) -> list[bytes]:
        """Return the outcomes that a caller sees who asks again and again."""
        found = [self.lookup.find(self.job_id) for _ in range(LOOKS)]
        seen = [one.document if isinstance(one, Outcome) else b"" for one in found]
        assert None not in found
        return seen


@settings(max_examples=150)
@given(ORDERS)
def test_all_who_cancel_finish_and_look_agree_on_one_outcome(order: list[int]) -> None:
    world = World(order)
    actors: dict[str, Callable[[], Any]] = {
        "web-0 cancels": world.cancel,
        "web-1 cancels": world.cancel,
        "worker-0 finishes": world.finish(0.25),
        "worker-1 finishes": world.finish(0.5),
        "a caller looks": world.look,
    }
    answers = world.interleaving.run(actors)
    seen = answers.pop("a caller looks")
    standing = world.results.get(result_key(world.job_id))
    # a terminal state is never left, and no answer says anything else
    assert set(answers.values()) == {standing}
    assert len(answers) == len(actors) - 1
    assert seen == sorted(seen, key=len), "an outcome was seen and then not"
    assert set(seen) <= {b"", standing}
    # a mark is left only of a job that was canceled
    is_marked = any(one.key == canceled_key(world.job_id) for one in world.results.list("results/"))
    assert is_marked == (json.loads(standing)["status"] == "canceled")


@settings(max_examples=150)
@given(ORDERS)
def test_a_deleted_job_never_comes_back(order: list[int]) -> None:
    world = World(order)
    actors: dict[str, Callable[[], Any]] = {
        "web-0 deletes": world.delete,
        "web-1 deletes": world.delete,
        "web-2 cancels": world.cancel,
        "worker-0 finishes": world.finish(0.25),
        "a caller looks": world.look,
    }
    answers = world.interleaving.run(actors)
    assert len(answers) == len(actors)
    standing = world.results.get(result_key(world.job_id))
    assert json.loads(standing)["error"]["code"] == "job_deleted"
    assert list(world.images.list("")) == []
    # a caller sees each state once: unfinished, at most one outcome, deleted
    states = [state for state, _ in itertools.groupby(answers["a caller looks"])]
    assert len(states) == len(set(states))
    assert len(set(states) - {b"", standing}) <= 1
    if standing in states:
        assert states[-1] == standing


@settings(max_examples=150)
@given(ORDERS, st.booleans())
def test_a_repeated_key_brings_no_image_of_a_deleted_job_back(order: list[int], is_old: bool) -> None:  # noqa: FBT001 -- a parameter
    world = World(order, keyed_job_id(KEY), "image")
    if is_old:  # then a repetition sends a message that may be lost, and puts the image again
        world.clock.advance(HOUR_S)
    actors: dict[str, Callable[[], Any]] = {
        "web-0 deletes": world.delete,
        "web-1 repeats": world.repeat,
        "web-2 repeats": world.repeat,
        "worker-0 finishes": world.finish(0.25),
    }
    answers = world.interleaving.run(actors)
    assert len(answers) == len(actors)
    for name in ("web-1 repeats", "web-2 repeats"):
        assert isinstance(answers[name], (Outcome, IdempotencyKeyInUse, *([Job] if is_old else [])))
    assert json.loads(world.results.get(result_key(world.job_id)))["error"]["code"] == "job_deleted"
    assert list(world.images.list("")) == []


@settings(max_examples=150, deadline=None)
@given(ORDERS)
def test_puts_with_one_id_make_one_job_of_one_image(order: list[int]) -> None:
    world = World(order, file_name="image")
    world.images.delete(world.key)
    actors: dict[str, Callable[[], Any]] = {
        "web-0 puts": lambda: world.put(b"cat"),
        "web-1 puts": lambda: world.put(b"cat"),
        "web-2 puts": lambda: world.put(b"dog"),
        "worker-0 finishes": world.finish(0.25),
    }
    answers = world.interleaving.run(actors)
    assert len(answers) == len(actors)
    ((key, image),) = [(one.key, world.images.get(one.key)) for one in world.images.list("")]
    assert key == world.key
    # the image that was first stands, and whoever sent the other one is told
    same = [
        name
        for name, data in (("web-0 puts", b"cat"), ("web-1 puts", b"cat"), ("web-2 puts", b"dog"))
        if data == image
    ]
    for name in ("web-0 puts", "web-1 puts", "web-2 puts"):
        assert isinstance(answers[name], IdempotencyKeyReused) == (name not in same)
    bodies = [one.body for one in world.queue.receive(count_max=10, wait_s=0)]
    made = [name for name in same if isinstance(answers[name], Job)]
    assert len(made) == 1
    assert len(bodies) == len(made)
    for name in same:
        assert isinstance(answers[name], (Job, Outcome, IdempotencyKeyInUse))
    assert json.loads(world.results.get(result_key(world.job_id)))["status"] == "succeeded"


@settings(max_examples=150, deadline=None)
@given(ORDERS)
def test_retries_make_one_job_and_the_failed_outcome_stands(order: list[int]) -> None:
    world = World(order)
    failed = world.fail()
    new_id = retry_id(failed.job)
    retried = World([], new_id, "image")
    actors: dict[str, Callable[[], Any]] = {
        "web-0 retries": world.retry,
        "web-1 retries": world.retry,
        "web-2 cancels": world.cancel,
        "a caller looks": world.look,
        "worker-0 finishes": lambda: store_outcome(world.ports.results, retried.result(0.5)),
    }
    answers = world.interleaving.run(actors)
    assert len(answers) == len(actors)
    assert set(answers["a caller looks"]) == {answers["web-2 cancels"]} == {failed.document}
    assert world.results.get(result_key(world.job_id)) == failed.document
    for name in ("web-0 retries", "web-1 retries"):
        assert isinstance(answers[name], (Job, Outcome, IdempotencyKeyInUse))
        if not isinstance(answers[name], IdempotencyKeyInUse):
            one = answers[name]
            assert (one.job.id if isinstance(one, Outcome) else one.id) == new_id
    assert [one.key for one in world.images.list("")] == sorted([world.key, image_key(new_id, "image")])
    assert world.images.get(image_key(new_id, "image")) == b"cat"
    assert json.loads(world.results.get(result_key(new_id)))["status"] == "succeeded"


@settings(max_examples=150, deadline=None)
@given(ORDERS)
def test_a_retry_beside_a_deletion_is_a_whole_job_or_none(order: list[int]) -> None:
    world = World(order)
    new_id = retry_id(world.fail().job)
    actors: dict[str, Callable[[], Any]] = {"web-0 retries": world.retry, "web-1 deletes": world.delete}
    answers = world.interleaving.run(actors)
    images = [one.key for one in world.images.list("")]
    if isinstance(answers["web-0 retries"], Job):
        assert images == [image_key(new_id, "image")]
        assert len(world.queue.receive(count_max=10, wait_s=0)) == 1
    else:
        assert isinstance(answers["web-0 retries"], (JobNotFound, ObjectNotFound))
        assert images == []
    assert json.loads(world.results.get(result_key(world.job_id)))["error"]["code"] == "job_deleted"
