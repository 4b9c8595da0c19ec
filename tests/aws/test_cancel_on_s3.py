"""Cancelling, finishing, deleting, naming and retrying meet in S3's conditional put, whoever comes first."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from aws.emulators import REGION, emulator
from beholder.clock import SystemClock
from beholder.job import Job, JobInput, JobStatus, Message, Options, new_job_id
from beholder.job.job import Result
from beholder.queue.memory import MemoryQueue
from beholder.results.outcomes import store_outcome
from beholder.store.keys import CANCELED, image_key, image_prefix, result_key
from beholder.store.s3 import S3Store
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.deletion import JobDeleter
from beholder.web.submission.job_list import JobLister, JobQuery
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import SubmissionRequest
from beholder.web.submission.submitter import Submitter
from beholder.worker.cancellations import Cancellations
from helpers.web import memory_ports

pytestmark = pytest.mark.aws

CLOCK = SystemClock()
ROUNDS = 12


class Jobs:
    """A bucket of S3, and what web processes and workers do with its jobs."""

    def __init__(self) -> None:
        aws = emulator("moto")
        self.store = S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint)
        ports = memory_ports(images=self.store, results=self.store, queue=MemoryQueue(), clock=CLOCK)
        self.lookup = JobLookup(ports)
        self.submitter = Submitter(ports, self.lookup)
        self.canceler = JobCanceler(self.lookup, self.store, CLOCK)
        self.deleter = JobDeleter(self.canceler, self.store, self.store, CLOCK)

    def accepted(self) -> Message:
        job_id = new_job_id(CLOCK.now_s())
        key = image_key(job_id, "a.jpg")
        self.store.put(key, b"cat")
        return Message(job_id, CLOCK.now_s(), JobInput(key, "a.jpg", 3))

    def cancel(self, message: Message) -> bytes:
        outcome = self.canceler.cancel(message.job_id)
        assert outcome is not None
        return outcome.document

    def put(self, job_id: str, data: bytes) -> bytes:
        """Send an image with this id; return the image that the message is for, empty if it is refused."""
        request = SubmissionRequest(data, "image", Options(), job_id=job_id)
        (answer,) = self.submitter.submit([(job_id, request)])
        return data if isinstance(answer, Job) else b""

    def finish(self, message: Message) -> bytes:
        job = Job(message.job_id, JobStatus.SUCCEEDED, message.created_at_s, result=Result(()))
        return store_outcome(self.store, replace(job, completed_at_s=CLOCK.now_s()))

    def marks(self) -> set[str]:
        return {one.key.removeprefix(CANCELED) for one in self.store.list(CANCELED)}


@pytest.fixture(scope="module")
def jobs() -> Jobs:
    return Jobs()


def at_once(*calls: Callable[[], bytes]) -> list[bytes]:
    """Make calls in threads that start together."""
    start = threading.Barrier(len(calls))

    def call(one: Callable[[], bytes]) -> bytes:
        start.wait(30)
        return one()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def test_all_who_cancel_and_finish_agree(jobs: Jobs) -> None:
    for _ in range(ROUNDS):
        message = jobs.accepted()
        answers = at_once(
            lambda message=message: jobs.cancel(message),
            lambda message=message: jobs.finish(message),
            lambda message=message: jobs.cancel(message),
            lambda message=message: jobs.finish(message),
        )
        standing = jobs.store.get(result_key(message.job_id))
        assert set(answers) == {standing}
        is_canceled = json.loads(standing)["status"] == "canceled"
        assert (message.job_id in jobs.marks()) == is_canceled


def test_all_who_send_images_with_one_id_make_one_job(jobs: Jobs) -> None:
    for _ in range(ROUNDS):
        job_id = new_job_id(CLOCK.now_s())
        sent = [b"cat", b"dog", b"cat", b"hen"]
        answers = at_once(*(lambda one=one, job_id=job_id: jobs.put(job_id, one) for one in sent))
        ((key, image),) = [
            (one.key, jobs.store.get(one.key)) for one in jobs.store.list(image_prefix(job_id))
        ]
        assert sorted(answers) == [b"", b"", b"", image]
        # and a lookup has the service's time, though the id may have another
        found = jobs.lookup.find(job_id)
        assert isinstance(found, Job)
        assert found.input is not None
        assert found.input.image_key == key
        assert abs(found.created_at_s - CLOCK.now_s()) < 60


def test_jobs_are_listed_newest_first_by_few_calls() -> None:
    jobs = Jobs()
    made = [jobs.accepted().job_id for _ in range(12)]
    jobs.deleter.delete(made[5])
    lister = JobLister(jobs.store, jobs.lookup, map, CLOCK)
    before, found, cursor = jobs.store.calls["ListObjectsV2"], list[str](), None
    assert lister.page(JobQuery(20, status=JobStatus.SUCCEEDED)).jobs == ()
    for _ in range(3):
        page = lister.page(JobQuery(4, cursor))
        found += [one.id for one in page.jobs if isinstance(one, Job)]
        cursor = page.next
    assert found == sorted(set(made) - {made[5]}, reverse=True)
    # a LIST for each unfinished job, and few for each page
    assert jobs.store.calls["ListObjectsV2"] - before <= 2 * 12 + 4 * 10


def test_a_worker_learns_of_canceled_jobs_by_one_list(jobs: Jobs) -> None:
    canceled, other = jobs.accepted(), jobs.accepted()
    jobs.cancel(canceled)
    cancellations = Cancellations(jobs.store, CLOCK, 0.0)
    assert cancellations.among([canceled, other]) == {canceled.job_id}
    cancellations.forget([canceled.job_id, other.job_id])
    assert canceled.job_id not in jobs.marks()


def test_a_deleted_job_leaves_nothing_and_stays_deleted(jobs: Jobs) -> None:
    finished, running = jobs.accepted(), jobs.accepted()
    jobs.finish(finished)
    for message in (finished, running):
        assert jobs.deleter.delete(message.job_id) is not None
        jobs.finish(message)
        assert json.loads(jobs.store.get(result_key(message.job_id)))["error"]["code"] == "job_deleted"
        assert list(jobs.store.list(image_prefix(message.job_id))) == []
    assert jobs.deleter.delete(new_job_id(0.0)) is None
