"""The client: what it sends, which answers it tries again, what it raises; both kinds do the same."""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import pytest

from beholder.client import AsyncClient, Client, ServiceUnreachable
from beholder.clock import ManualClock
from beholder.errors import (
    BackendDenied,
    BackendUnavailable,
    BadImage,
    BeholderError,
    ConfigError,
    IdempotencyKeyInUse,
    ImageTooLarge,
    ImageTruncated,
    ImageTypeUnsupported,
    JobError,
    JobNotFound,
    KeyRefused,
    ModelNotFound,
    NotFound,
    OutcomeLate,
    Overloaded,
    RequestError,
    ScopeMissing,
    Unauthorized,
)
from beholder.job import Failure, Job, JobStatus, Label
from beholder.job.job import Result

URL = "http://beholder.test"
TABBY = (Label("tabby", 281, 0.5),)
Call = Callable[[Any], Any]


def job(status: JobStatus = JobStatus.SUCCEEDED, failure: Failure | None = None) -> dict[str, Any]:
    result = Result(TABBY) if status is JobStatus.SUCCEEDED else None
    return Job("1", status, 0.0, result=result, error=failure).to_dict()


@dataclass(frozen=True)
class Canned:
    """An answer that any number of requests may get."""

    status: int
    body: bytes
    headers: dict[str, str]

    def response(self) -> httpx2.Response:
        return httpx2.Response(self.status, content=self.body, headers=self.headers)


def answer(status: int, document: Any, **headers: str) -> Canned:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Canned(status, document if isinstance(document, bytes) else json.dumps(document).encode(), named)


def problem(status: int, code: str, detail: str = "A sentence.", **headers: str) -> Canned:
    return answer(status, {"status": status, "code": code, "detail": detail}, **headers)


def done() -> Canned:
    return answer(200, job())


def queued(seconds: int = 7) -> Canned:
    return answer(202, job(JobStatus.QUEUED), retry_after=str(seconds))


def busy(seconds: int = 3) -> Canned:
    return problem(503, "overloaded", retry_after=str(seconds))


def lost() -> httpx2.TransportError:
    return httpx2.ReadError("the connection was reset")


@dataclass
class Service:
    """Gives one answer after the other, and notes what was asked and how long the client paused."""

    answers: list[Canned | Exception]
    kind: type[Client | AsyncClient]
    asked: list[httpx2.Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given.response()

    def pause(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 3))
        self.clock.advance(seconds)

    async def async_pause(self, seconds: float) -> None:
        self.pause(seconds)

    def call(self, call: Call, **more: Any) -> Any:
        """Return what a call of a new client returns; the answer of an async one is awaited."""
        options: dict[str, Any] = {"api_key": "", "jitter": lambda: 0.0, "clock": self.clock} | more
        transport = httpx2.MockTransport(self.handle)
        if self.kind is Client:
            with Client(URL, transport=transport, pause=self.pause, **options) as client:
                return call(client)

        async def run() -> Any:
            async with AsyncClient(URL, transport=transport, pause=self.async_pause, **options) as client:
                return await call(client)

        return asyncio.run(run())

    def targets(self) -> list[str]:
        return [f"{one.method} {one.url.raw_path.decode()}" for one in self.asked]

    def keys(self) -> set[str]:
        return {one.headers["idempotency-key"] for one in self.asked if one.method == "POST"}


@pytest.fixture(params=[Client, AsyncClient])
def service(request: pytest.FixtureRequest) -> Callable[..., Service]:
    return lambda *answers: Service(list(answers), request.param)


def classify(client: Any) -> Any:
    return client.classify(b"image")


# --- what is sent -------------------------------------------------------------------------------------------


def test_an_image_is_sent_with_its_parameters_and_the_key(service: Callable[..., Service]) -> None:
    found = service(done())
    asked: Any = {"top_k": 1, "model": "a b", "include": ["a, b", 5]}
    result = found.call(lambda one: one.classify(b"image", **asked), api_key="bhk_x")
    assert result.labels == TABBY
    (asked,) = found.asked
    assert found.targets() == ["POST /v1/classify?top_k=1&model=a+b&include=%5B%22a%2C+b%22%2C+5%5D"]
    assert (asked.content, asked.headers["authorization"]) == (b"image", "Bearer bhk_x")
    assert asked.headers["prefer"] == "wait=60"


def test_the_key_of_the_environment_is_used_unless_another_is_given(
    service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHOLDER_API_KEY", "bhk_env")
    found = service(done(), done())
    found.call(classify, api_key=None)
    found.call(classify, api_key="")
    assert [one.headers.get("authorization") for one in found.asked] == ["Bearer bhk_env", None]


def test_an_image_may_be_a_path_bytes_an_open_file_or_an_address(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    path = tmp_path / "cät &.jpg"
    path.write_bytes(b"image")
    sources: list[Any] = [str(path), path, path.open("rb"), io.BytesIO(b"image"), b"image"]
    found = service(*[done() for _ in range(6)])
    for source in [*sources, "https://example.org/cat.jpg"]:
        found.call(lambda one, source=source: one.classify(source))
    sources[2].close()
    assert {one.content for one in found.asked[:5]} == {b"image"}
    named = "POST /v1/classify?file_name=c%C3%A4t+%26.jpg"
    assert found.targets() == [*[named] * 3, *["POST /v1/classify"] * 3]
    assert json.loads(found.asked[5].content) == {"url": "https://example.org/cat.jpg"}
    assert found.asked[5].headers["content-type"] == "application/json"


def test_an_object_in_s3_is_named_and_not_sent(service: Callable[..., Service]) -> None:
    found = service(done())
    found.call(lambda one: one.classify("s3://photos/pets/cat.jpg"))
    (asked,) = found.asked
    assert json.loads(asked.content) == {"s3": "s3://photos/pets/cat.jpg"}
    assert asked.headers["content-type"] == "application/json"


def test_the_models_are_listed_as_a_request_names_them(service: Callable[..., Service]) -> None:
    models = [{"name": "pets", "version": "2", "new": 1}, {"name": "pets", "version": "1"}]
    found = service(busy(), answer(200, {"default": "pets", "models": models}))
    assert found.call(lambda one: one.models()) == ("pets@2", "pets@1")
    assert found.targets() == ["GET /v1/models"] * 2


@pytest.mark.parametrize("document", [b"<html>", [], {}, {"models": None}, {"models": [{"name": "a"}]}])
def test_an_answer_without_models_is_that_of_another_service(
    service: Callable[..., Service], document: Any
) -> None:
    with pytest.raises(ConfigError, match="give the address of a service of beholder"):
        service(answer(200, document)).call(lambda one: one.models())


def test_a_job_is_submitted_waited_for_fetched_and_canceled(service: Callable[..., Service]) -> None:
    canceled = answer(200, job(JobStatus.CANCELED, Failure("job_canceled", 410, "Gone.")))
    found = service(queued(), queued(), done(), done(), canceled, queued(), answer(204, b""))
    submitted = found.call(lambda one: one.submit(b"image"))
    assert (submitted.status, submitted.labels) == (JobStatus.QUEUED, ())
    assert found.asked[0].headers["prefer"] == "wait=0"
    assert found.call(lambda one: one.wait(submitted)).labels == TABBY
    assert found.call(lambda one: one.get("1")).status is JobStatus.SUCCEEDED
    assert found.call(lambda one: one.cancel("1")).status is JobStatus.CANCELED
    assert found.call(lambda one: one.retry("1")).status is JobStatus.QUEUED
    assert found.call(lambda one: one.delete("1")) is None
    get = "GET /v1/jobs/1"
    assert found.targets()[1:] == [
        get,
        get,
        get,
        "POST /v1/jobs/1/cancel",
        "POST /v1/jobs/1/retry",
        "DELETE /v1/jobs/1",
    ]


# --- what is tried again ------------------------------------------------------------------------------------


def test_a_busy_service_and_an_unfinished_job_are_asked_again_when_they_say(
    service: Callable[..., Service],
) -> None:
    found = service(busy(3), queued(7), busy(3), queued(0), done())
    assert found.call(classify).labels == TABBY
    assert found.pauses == [3, 7, 3, 0.05]
    assert [one.partition(" ")[0] for one in found.targets()] == ["POST", "POST", "GET", "GET", "GET"]
    assert len(found.keys()) == 1


def test_two_images_never_share_a_key_and_a_caller_may_name_it(service: Callable[..., Service]) -> None:
    found = service(done(), done(), done(), done())
    found.call(classify)
    found.call(classify)
    assert len(found.keys()) == 2
    found.call(lambda one: one.classify(b"image", idempotency_key="mine"))
    found.call(lambda one: one.submit(b"image", idempotency_key="mine"))
    assert {one.headers["idempotency-key"] for one in found.asked[2:]} == {"mine"}


@pytest.mark.parametrize(
    "passing",
    [
        problem(429, "unheard_of"),
        answer(502, b"<html>a balancer's page"),
        problem(503, "backend_denied"),
        problem(503, "outcome_late"),
        answer(504, b""),
        problem(409, "idempotency_key_in_use"),
    ],
    ids=lambda one: str(one.status),
)
def test_an_error_that_passes_is_met_with_growing_pauses(
    service: Callable[..., Service], passing: Canned
) -> None:
    found = service(*[passing] * 6, done())
    found.call(classify)
    assert found.pauses == [0.25, 0.5, 1, 2, 4, 4]
    assert len(found.keys()) == 1


def test_the_pauses_are_spread_and_never_end_before_the_service_says(
    service: Callable[..., Service],
) -> None:
    found = service(busy(10), problem(503, "backend_unavailable"), done())
    found.call(classify, jitter=lambda: 1.0)
    assert found.pauses == [11, 1]


def test_a_connection_that_is_lost_is_made_again_once_the_service_was_reached(
    service: Callable[..., Service],
) -> None:
    found = service(busy(1), lost(), lost(), done())
    assert found.call(classify).labels == TABBY
    assert len(found.keys()) == 1
    gone = service(busy(1), *[lost() for _ in range(99)])
    with pytest.raises(ServiceUnreachable, match="reset"):
        gone.call(classify)
    assert 120 <= sum(gone.pauses) <= 130


def test_a_service_that_never_answered_is_given_up_at_once(service: Callable[..., Service]) -> None:
    found = service(lost())
    with pytest.raises(ServiceUnreachable, match=r"beholder\.test cannot be reached: the connection was"):
        found.call(classify)
    assert found.pauses == []


def test_a_service_that_stays_busy_is_given_up_before_the_time_is_over(
    service: Callable[..., Service],
) -> None:
    found = service(busy(300), busy(300), busy(300))
    with pytest.raises(Overloaded) as refused:
        found.call(classify)
    assert (found.pauses, refused.value.retry_after_s) == ([300, 300], 300)
    brief = service(busy(3))
    with pytest.raises(Overloaded):
        brief.call(classify, timeout_s=2)
    assert (brief.pauses, brief.asked[0].headers["prefer"]) == ([], "wait=2")


def test_an_outcome_that_does_not_come_in_time_is_late(service: Callable[..., Service]) -> None:
    found = service(queued(4), queued(4), queued(4))
    with pytest.raises(OutcomeLate, match="job 1 has no outcome after 10 s"):
        found.call(lambda one: one.wait("1", timeout_s=10))
    assert found.pauses == [4, 4]


# --- what is raised -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "group", "code"),
    [
        (problem(415, "image_type_unsupported"), ImageTypeUnsupported, BadImage, "image_type_unsupported"),
        (problem(413, "image_too_large"), ImageTooLarge, BadImage, "image_too_large"),
        (problem(422, "image_truncated"), ImageTruncated, BadImage, "image_truncated"),
        (problem(422, "of_a_later_version"), BadImage, BadImage, "of_a_later_version"),
        (answer(413, b"<html>nginx"), BadImage, BadImage, "bad_image"),
        (problem(401, "key_refused"), KeyRefused, Unauthorized, "key_refused"),
        (problem(403, "scope_missing"), ScopeMissing, Unauthorized, "scope_missing"),
        (answer(403, b"<html>"), Unauthorized, Unauthorized, "unauthorized"),
        (problem(404, "model_not_found"), ModelNotFound, NotFound, "model_not_found"),
        (answer(404, b"<html>"), NotFound, NotFound, "not_found"),
        (problem(400, "bad_parameter"), RequestError, RequestError, "bad_parameter"),
        (problem(418, "unheard_of"), RequestError, RequestError, "unheard_of"),
        (problem(500, "internal_error"), BeholderError, BeholderError, "internal_error"),
        (problem(500, "job_abandoned"), JobError, JobError, "job_abandoned"),
        (problem(410, "job_canceled"), JobError, JobError, "job_canceled"),
        (answer(418, []), RequestError, RequestError, "bad_request"),
    ],
    ids=lambda one: str(one.status) if isinstance(one, Canned) else None,
)
def test_an_error_is_that_of_the_service_by_its_code(
    service: Callable[..., Service],
    given: Canned,
    error: type[BeholderError],
    group: type[BeholderError],
    code: str,
) -> None:
    found = service(given)
    with pytest.raises(group) as raised:
        found.call(classify)
    assert isinstance(raised.value, error)
    assert (raised.value.code, found.pauses) == (code, [])
    if given.body.startswith(b"{"):
        assert raised.value.message == "A sentence."
    if isinstance(raised.value, BadImage):
        assert raised.value.reason == code


def test_an_error_of_a_backend_is_raised_when_it_does_not_pass(service: Callable[..., Service]) -> None:
    for code, error in [("backend_denied", BackendDenied), ("backend_unavailable", BackendUnavailable)]:
        found = service(*[problem(503, code, retry_after="30")] * 2)
        with pytest.raises(error, match="A sentence"):
            found.call(classify, timeout_s=40)
        assert found.pauses == [30]


def test_a_key_that_stays_in_use_is_raised(service: Callable[..., Service]) -> None:
    found = service(*[problem(409, "idempotency_key_in_use")] * 9)
    with pytest.raises(IdempotencyKeyInUse):
        found.call(classify, timeout_s=5)


def test_a_job_that_failed_is_raised_by_classify_and_wait_and_returned_by_get(
    service: Callable[..., Service],
) -> None:
    failed = answer(200, job(JobStatus.FAILED, Failure("image_truncated", 422, "Cut.")))
    for call in (lambda one: one.wait("1"), classify):
        with pytest.raises(ImageTruncated, match="Cut") as raised:
            service(failed).call(call)
        assert raised.value.reason == "image_truncated"
    returned = service(failed).call(lambda one: one.get("1"))
    assert returned.error.code == "image_truncated"
    unknown = answer(200, job(JobStatus.FAILED, Failure("of_a_later_version", 422, "Odd.")))
    with pytest.raises(JobError, match="Odd"):
        service(unknown).call(classify)


def test_the_request_s_id_is_a_note_of_the_error(service: Callable[..., Service]) -> None:
    with pytest.raises(JobNotFound) as raised:
        service(problem(404, "job_not_found", x_request_id="abc")).call(lambda one: one.get("1"))
    assert raised.value.__notes__ == ["x-request-id: abc"]


def test_a_redirect_is_not_followed_with_the_key(service: Callable[..., Service]) -> None:
    found = service(answer(307, b"", location="http://elsewhere.test/"))
    with pytest.raises(ConfigError, match=r"http://elsewhere\.test/"):
        found.call(classify, api_key="bhk_x")
    assert len(found.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff"])
def test_what_is_no_service_of_beholder_is_told(service: Callable[..., Service], body: bytes) -> None:
    with pytest.raises(ConfigError, match="is no job"):
        service(answer(200, body)).call(classify)


def test_members_that_a_later_service_adds_are_ignored(service: Callable[..., Service]) -> None:
    document = job() | {"new": 1}
    document["result"] |= {"new": []}
    document["result"]["labels"][0] |= {"new": {"a": 1}}
    assert service(answer(200, document)).call(classify).labels == TABBY


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x/upload"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="give a service's address"):
        Client(url)


@pytest.mark.parametrize("key", ["two words", "ключ", "a\nb"])
def test_a_key_that_no_header_may_hold_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="printable ASCII"):
        AsyncClient(URL, api_key=key)


# --- many images --------------------------------------------------------------------------------------------


class Echo:
    """Answers each image with a job whose label is the image, once a test lets it; counts those under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self.under_way_max = 0
        self.taken = 0
        self.lock = threading.Lock()
        self.gates: dict[bytes, threading.Event] = {}

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        with self.lock:
            self.under_way += 1
            self.under_way_max = max(self.under_way, self.under_way_max)
        gate = self.gates.get(request.content)
        assert gate is None or gate.wait(30)
        with self.lock:
            self.under_way -= 1
        if request.content == b"bad":
            return problem(415, "image_type_unsupported").response()
        if request.content == b"key":
            return problem(401, "key_refused").response()
        document = job()
        document["result"]["labels"][0]["name"] = request.content.decode()
        return answer(200, document).response()

    def images(self, count: int) -> Iterator[bytes]:
        for number in range(count):
            self.taken += 1
            yield b"%d" % number


def names(results: Any) -> list[str]:
    return [one.labels[0].name if one.labels else type(one.error).__name__ for one in results]


def test_a_stream_keeps_few_images_in_hand_and_yields_each_once() -> None:
    echo = Echo()
    with Client(URL, transport=httpx2.MockTransport(echo.handle)) as client:
        results = client.stream(echo.images(50), concurrency=4)
        first = next(results)
        assert echo.taken <= 8
        found = names([first, *results])
    assert sorted(map(int, found)) == list(range(50))
    assert echo.under_way_max <= 4


def test_a_result_comes_before_that_of_a_slower_image_unless_order_is_asked() -> None:
    for is_ordered, expected in [(False, ["1", "2", "0"]), (True, ["0", "1", "2"])]:
        echo = Echo()
        echo.gates = {b"0": threading.Event()}
        with Client(URL, transport=httpx2.MockTransport(echo.handle)) as client:
            results = client.stream(echo.images(3), concurrency=2, is_ordered=is_ordered)
            found = [] if is_ordered else [next(results), next(results)]
            echo.gates[b"0"].set()
            assert names([*found, *results]) == expected


def test_a_folder_gives_results_and_errors_side_by_side(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    for name in ("a.jpg", "bad.jpg", "deep/c.png", "notes.txt", ".hidden/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(Path(name).stem.encode())
    echo = Echo()
    found = service()
    found.handle = echo.handle  # type: ignore[method-assign]

    async def gathered(client: Any) -> list[Any]:
        return [one async for one in client.batch(tmp_path)]

    results = found.call((lambda one: list(one.batch(tmp_path))) if found.kind is Client else gathered)
    by_name = {Path(one.file).name: one for one in results}
    found_in = [by_name[name] for name in ("a.jpg", "bad.jpg", "c.png")]
    assert names(found_in) == ["a", "ImageTypeUnsupported", "c"]
    assert len(results) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no image"):
        found.kind(URL).batch(tmp_path / "empty")


def test_a_file_that_cannot_be_read_stops_no_other_and_a_refused_key_stops_all(tmp_path: Path) -> None:
    echo = Echo()
    with Client(URL, transport=httpx2.MockTransport(echo.handle)) as client:
        gone = tmp_path / "gone.jpg"
        (missing, good) = client.stream([gone, b"1"], is_ordered=True)
        assert (missing.file, good.file, good.labels[0].name) == (str(gone), "", "1")
        assert missing.error is not None
        assert missing.error.message == "cannot be read: No such file or directory"
        with pytest.raises(Unauthorized):
            list(client.stream(chain([b"key"], echo.images(50)), concurrency=2))
    assert echo.taken < 50


def test_a_stream_that_is_left_early_ends_its_pauses() -> None:
    paused = threading.Event()

    def handle(request: httpx2.Request) -> httpx2.Response:
        if request.content == b"quick":
            assert paused.wait(30)
            return done().response()
        paused.set()
        return busy(500).response()

    with Client(URL, transport=httpx2.MockTransport(handle)) as client:
        results = client.stream([b"slow", b"quick"], concurrency=2)
        assert next(results).labels == TABBY
        results.close()  # type: ignore[attr-defined]


def test_a_canceled_async_stream_ends_its_requests() -> None:
    begun, ended = asyncio.Semaphore(0), list[bytes]()

    async def handle(request: httpx2.Request) -> httpx2.Response:
        if request.content == b"0":
            await begun.acquire()
            await begun.acquire()
            return done().response()
        begun.release()
        try:
            return await asyncio.Future()
        finally:
            ended.append(request.content)

    async def run() -> int:
        async with AsyncClient(URL, transport=httpx2.MockTransport(handle)) as client:
            results = client.stream([b"%d" % number for number in range(9)], concurrency=3)
            async for one in results:
                assert one.labels == TABBY
                break
            await results.aclose()  # type: ignore[attr-defined]
            return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1
    assert {*ended} == {b"1", b"2"}


# --- both kinds ---------------------------------------------------------------------------------------------


def test_both_clients_have_the_same_methods() -> None:
    public = [{name for name in vars(kind) if name[0] != "_"} for kind in (Client, AsyncClient)]
    assert public[0] == public[1]
