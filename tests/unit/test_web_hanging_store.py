"""A store that does not answer: each request is answered within a bound, however many come before it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.job import Job, JobStatus, new_job_id
from beholder.store.memory import MemoryStore
from beholder.store.port import ObjectInfo
from beholder.web.app import build_app
from beholder.web.routes import jobs
from beholder.web.submission import direct_uploads, pending
from beholder.web.submission.bounded import bounded
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import PendingJob
from helpers.asgi import call, running
from helpers.images import jpeg
from helpers.web import memory_ports

JOB = Job(new_job_id(1.0), JobStatus.QUEUED, 1.0)


class Hanging(MemoryStore):
    """A store whose reads hang until the test ends."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.end = threading.Event()

    def get(self, key: str) -> bytes:
        self.asked.append(key)
        self.end.wait(30)
        return super().get(key)

    def head(self, key: str) -> ObjectInfo:
        self.end.wait(30)
        return super().head(key)


@contextmanager
def hanging() -> Iterator[Hanging]:
    store = Hanging()
    try:
        yield store
    finally:
        store.end.set()


def test_a_call_that_has_not_begun_by_the_end_of_its_time_never_does() -> None:
    async def ask(threads: ThreadPoolExecutor) -> None:
        asked = [bounded(threads, 0.05, store.get, f"{number}") for number in range(9)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [BackendUnavailable] * 9

    with ThreadPoolExecutor(1) as threads, hanging() as store:
        asyncio.run(ask(threads))
    assert store.asked == ["0"]


def test_a_caller_whose_time_is_over_waits_no_longer_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_LAST_LOOKUP_S_MAX", 0.05)

    async def wait() -> None:
        with hanging() as store:
            replies = PendingReplies(100, JobLookup(memory_ports(results=store)), ManualClock())
            waits = [replies.wait(PendingJob(JOB, replies.expect(JOB.id)), 0.01) for _ in range(50)]
            assert await asyncio.gather(*waits) == [None] * 50
            assert not store.end.is_set()

    asyncio.run(wait())


def test_a_question_for_a_job_is_answered_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOOKUP_S_MAX", 0.05)

    async def ask() -> None:
        with hanging() as store:
            app = build_app(memory_ports(results=store))
            async with running(app):
                asked = [call(app, "GET", f"/v1/jobs/{JOB.id}") for _ in range(20)]
                asked += [call(app, "POST", f"/v1/jobs/{JOB.id}/cancel") for _ in range(20)]
                answers = await asyncio.gather(*asked)
                posted = await call(app, "POST", "/v1/classify", jpeg(1), prefer="respond-async")
                store.end.set()
        assert {(one.status, one.json["code"]) for one in answers} == {(503, "backend_unavailable")}
        assert posted.status == 202

    asyncio.run(ask())


def test_a_job_of_an_upload_that_cannot_be_found_is_answered_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_uploads, "LOOKUP_S_MAX", 0.05)
    body = b'{"upload": "%s"}' % JOB.id.encode()

    async def ask() -> None:
        with hanging() as store:
            app = build_app(memory_ports(images=store))
            async with running(app):
                asked = [
                    call(app, "POST", "/v1/classify", body, content_type="application/json")
                    for _ in range(20)
                ]
                answers = await asyncio.gather(*asked)
                assert not store.end.is_set()
                store.end.set()
        assert {(one.status, one.json["code"]) for one in answers} == {(503, "backend_unavailable")}

    asyncio.run(ask())
