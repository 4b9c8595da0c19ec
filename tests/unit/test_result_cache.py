"""Remembered results: the same image, model and options need a worker once; each request has its own job."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import BackendUnavailable, ImageTruncated
from beholder.job import Job, JobStatus, Label
from beholder.job.job import Result
from beholder.model.port import Preprocessing
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Priority
from beholder.runner import Runner
from beholder.store.keys import RESULTS
from beholder.store.memory import MemoryStore
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import WebPorts
from beholder.web.submission.reply_sources import PolledReplies
from beholder.web.submission.request import Outcome
from beholder.web.submission.result_cache import ResultCache
from helpers.asgi import Answer, call, running
from helpers.images import jpeg
from helpers.rig import Rig, prepare
from helpers.web import memory_ports

CLASSIFY = "/v1/classify"
ONE, TWO, LARGE = jpeg(1), jpeg(2), jpeg(3) + b"x" * 1_000_001
CUT = ONE[:-100]
ASYNC = {"prefer": "respond-async"}


class CountingQueue(MemoryQueue):
    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.INTERACTIVE) -> None:
        self.sent += len(bodies)
        super().send(bodies, priority=priority)


class Refusing(MemoryStore):
    """An output bucket that takes no outcome while it is told so."""

    is_refusing = False

    def put(self, key: str, data: bytes, **more: Any) -> None:
        if self.is_refusing and key.startswith(RESULTS):
            raise BackendUnavailable("a bucket", "put")
        super().put(key, data, **more)


def prepare_or_fail(data: bytes, preprocessing: Preprocessing) -> Any:
    if data == CUT:
        raise ImageTruncated
    return prepare(data, preprocessing)


class Service:
    """A web tier, and a worker that begins when it is told to."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.rig, self.runner = Rig(folder), Runner()
        self.rig.queue = self.queue = CountingQueue()
        self.rig.results = self.results = Refusing()
        self.telemetry = Telemetry()
        self.ports: WebPorts = memory_ports(
            queue=self.queue,
            replies=PolledReplies(self.rig.replies["web-0"], wait_s=0.01),
            images=self.rig.images,
            results=self.results,
            telemetry=self.telemetry,
            limits=WebLimits(**{"result_cache_max": 100, **limits}),
        )

    def work(self) -> None:
        self.runner.start("worker", self.rig.worker(wait_s=0.01, prepare=prepare_or_fail).tick)

    def run(self, script: Callable[[Any], Awaitable[Any]]) -> Any:
        async def serve() -> Any:
            app = build_app(self.ports)
            async with running(app):
                return await script(app)

        return asyncio.run(serve())

    def post(self, *asked: tuple[str, bytes, dict[str, str]]) -> list[Answer]:
        """Send requests one after the other."""

        async def script(app: Any) -> list[Answer]:
            return [await call(app, "POST", target, data, **headers) for target, data, headers in asked]

        found: list[Answer] = self.run(script)
        return found

    @property
    def waiting(self) -> float | None:
        return self.telemetry.registry.get_sample_value("beholder_waiting_requests")

    def count(self, result: str) -> float:
        value = self.telemetry.registry.get_sample_value("beholder_result_cache_total", {"result": result})
        return value or 0.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.runner.stop()


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


def labels(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["result"]["labels"]


def test_the_same_image_is_recognised_once_and_each_request_has_its_job(service: Service) -> None:
    service.work()
    first, again, large, large_again, found = service.post(
        (CLASSIFY, ONE, {}), (CLASSIFY, ONE, {}), (CLASSIFY, LARGE, {}), (CLASSIFY, LARGE, {}), ("/", ONE, {})
    )
    assert labels(again) == labels(first)
    assert labels(large_again) == labels(large)
    # the classic client asks for one label, so its options are others
    assert (service.queue.sent, service.count("hit"), service.count("miss")) == (3, 2, 3)
    assert found.status == 200
    assert again.json["id"] != first.json["id"]
    assert (again.json["started_at"], again.json["metrics"]) == (None, None)
    assert again.json["input"]["image_key"] != first.json["input"]["image_key"]
    # and the job is there for whoever asks later, also another process
    (kept,) = service.run(lambda app: asyncio.gather(call(app, "GET", f"/v1/jobs/{again.json['id']}")))
    assert kept.json == again.json


@pytest.mark.parametrize(
    ("target", "data", "headers"),
    [
        (CLASSIFY, TWO, {}),
        (f"{CLASSIFY}?top_k=3", ONE, {}),
        (f"{CLASSIFY}?min_confidence=0.2", ONE, {}),
        (CLASSIFY, ONE, {"cache_control": "no-cache"}),
        (CLASSIFY, ONE, {"cache_control": "max-age=0, No-Store"}),
    ],
)
def test_other_images_options_and_wishes_are_recognised_anew(
    service: Service, target: str, data: bytes, headers: dict[str, str]
) -> None:
    service.work()
    service.post((CLASSIFY, ONE, {}), (target, data, headers))
    assert (service.queue.sent, service.count("hit")) == (2, 0)


def test_those_who_wait_for_the_same_image_share_one_run(service: Service) -> None:
    async def script(app: Any) -> list[Answer]:
        asked = [asyncio.create_task(call(app, "POST", CLASSIFY, ONE))]
        await until(lambda: service.queue.sent == 1)
        asked += [asyncio.create_task(call(app, "POST", CLASSIFY, ONE)) for _ in range(4)]
        await until(lambda: service.waiting == 5)
        service.work()
        return [await one for one in asked]

    answers = service.run(script)
    assert (service.queue.sent, service.count("shared")) == (1, 4)
    assert len({one.json["id"] for one in answers}) == 5
    assert all(labels(one) == labels(answers[0]) for one in answers)


def test_those_who_share_a_run_that_fails_are_told_why_by_a_run_of_their_own(service: Service) -> None:
    async def script(app: Any) -> list[Answer]:
        asked = [asyncio.create_task(call(app, "POST", CLASSIFY, CUT))]
        await until(lambda: service.queue.sent == 1)
        asked.append(asyncio.create_task(call(app, "POST", CLASSIFY, CUT)))
        await until(lambda: service.waiting == 2)
        service.work()
        return [await one for one in asked]

    assert [one.json["code"] for one in service.run(script)] == ["image_truncated"] * 2
    assert (service.queue.sent, service.count("miss")) == (2, 2)


def test_who_waited_in_vain_for_another_job_gets_one_of_its_own(service: Service) -> None:
    answers = service.post(
        (CLASSIFY, ONE, ASYNC), (CLASSIFY, ONE, {"prefer": "wait=1"}), (CLASSIFY, ONE, ASYNC)
    )
    assert [one.status for one in answers] == [202] * 3
    assert service.queue.sent == 3


def test_an_outcome_that_is_not_stored_leaves_nothing_and_may_be_tried_again(service: Service) -> None:
    service.work()

    async def script(app: Any) -> list[Answer]:
        first = await call(app, "POST", CLASSIFY, ONE)
        service.results.is_refusing = True
        refused = await call(app, "POST", CLASSIFY, ONE)
        service.results.is_refusing = False
        return [first, refused, await call(app, "POST", CLASSIFY, ONE)]

    first, refused, again = service.run(script)
    assert (refused.status, refused.json["code"]) == (503, "backend_unavailable")
    assert labels(again) == labels(first)
    assert len(list(service.rig.images.list("images/"))) == 2


def test_a_repetition_with_its_key_is_the_same_job(service: Service) -> None:
    service.work()
    key = {"idempotency_key": "a"}
    first, keyed, again, other = service.post(
        (CLASSIFY, ONE, {}), (CLASSIFY, ONE, key), (CLASSIFY, ONE, key), (CLASSIFY, TWO, key)
    )
    assert first.json["id"] != keyed.json["id"] == again.json["id"]
    assert other.json["code"] == "idempotency_key_reused"
    assert service.queue.sent == 1


def test_without_the_setting_each_image_is_recognised(tmp_path: Path) -> None:
    service = Service(tmp_path, result_cache_max=None)
    service.work()
    service.post(*[(CLASSIFY, ONE, {})] * 3)
    service.runner.stop()
    assert (service.queue.sent, service.count("miss")) == (3, 0)


def test_those_asked_for_longest_ago_are_forgotten_and_so_are_jobs_without_an_end() -> None:
    cache = ResultCache(2)
    ids = itertools.count()

    def done(key: str, *, status: JobStatus = JobStatus.SUCCEEDED, count: int = 1) -> None:
        result = Result((Label("cat", 0, 1.0),) * count)
        job = Job(str(next(ids)), JobStatus.QUEUED, 0.0)
        cache.expect(key, job.id)
        cache.accepted(job)
        cache.settle([Outcome(Job(job.id, status, 0.0, result=result), b"")])

    done("a")
    done("b")
    assert cache.find("a")
    done("c")
    assert [key for key in "abc" if cache.find(key)] == ["a", "c"]
    done("d", status=JobStatus.CANCELED)
    done("e", count=101)
    assert not cache.find("d")
    assert not cache.find("e")
    for number in range(10):
        cache.expect(number, f"lost {number}")
        cache.accepted(Job(f"lost {number}", JobStatus.QUEUED, 0.0))
    assert [number for number in range(10) if cache.running(number)] == [8, 9]
