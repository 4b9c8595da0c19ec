"""The web tier's application in this process: no socket, everything behind it in memory."""

import asyncio
import base64
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest

from beholder.errors import BackendFull, BackendUnavailable
from beholder.job import JobStatus, new_job_id
from beholder.model.decode.limits import ImageLimits
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Priority, Received
from beholder.store.keys import result_key
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.limits import WebLimits
from beholder.web.middleware import RequestMiddleware
from beholder.web.ports import ServedModel, WebPorts
from helpers.asgi import Answer, Gone, call, running
from helpers.images import jpeg, png
from helpers.rig import RecordedPort, Rig
from helpers.service import multipart

WAIT_S = 20.0
IMAGE_BYTES_MAX = 50_000
LIMITS = WebLimits(image=ImageLimits(image_bytes_max=IMAGE_BYTES_MAX), wait_s_default=WAIT_S)
ASYNC = {"prefer": "respond-async"}


class Impatient(MemoryQueue):
    """A reply queue whose listener notices a stop soon."""

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        return super().receive(
            count_max=count_max, wait_s=min(wait_s, 0.05), visibility_timeout_s=visibility_timeout_s
        )


class Web(Rig):
    """A web process without its sockets, and the rig's workers behind it."""

    def __init__(self, folder: Path, limits: WebLimits = LIMITS) -> None:
        super().__init__(folder)
        self.replies["web-0"] = Impatient(clock=self.clock)
        self.telemetry = Telemetry()
        self.app = build_app(self.ports(limits))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web")

    def ports(self, limits: WebLimits = LIMITS) -> WebPorts:
        model = ServedModel("first", "1", "MIT", "", 4, "as-is", None)
        return WebPorts(
            queue=RecordedPort(self.queue, "queue", self.recorder),
            replies=self.replies["web-0"],
            reply_to=lambda: "web-0",
            images=RecordedPort(self.images, "images", self.recorder),
            results=RecordedPort(self.results, "results", self.recorder),
            models=(model,),
            clock=self.clock,
            limits=limits,
            telemetry=self.telemetry,
            version="1.2.3",
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._lifespan = running(self.app)
        self.start(self._lifespan.__aenter__()).result(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.start(self._lifespan.__aexit__(None, None, None)).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def begin(self, method: str, target: str, *args: Any, **more: Any) -> "Future[Answer]":
        return self.start(call(self.app, method, target, *args, **more))

    def ask(self, method: str, target: str, *args: Any, **more: Any) -> Answer:
        return self.begin(method, target, *args, **more).result(WAIT_S)

    def work(self) -> None:
        """Let a worker take what is sent next through all its steps."""
        self.begun("worker-web", wait_s=WAIT_S).tick()

    def count(self, name: str, **labels: str) -> float:
        return self.telemetry.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def web(shared: Web) -> Iterator[Web]:
    shared.recorder.calls.clear()
    yield shared
    shared.recorder.failures.clear()
    with shared.queue._changed:
        shared.queue._messages.clear()  # those in flight too


def is_problem(answer: Answer, status: int, code: str) -> bool:
    """Say whether an answer is this problem, and a whole one."""
    document = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == document["request_id"]
    assert (answer.status, document["status"], document["code"]) == (status, status, code)
    assert document["type"] == f"urn:beholder:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return True


# --- an image and its answer --------------------------------------------------------------------------------


def test_an_image_is_answered_with_its_job(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify?top_k=2", jpeg(1))
    web.work()
    answer = waiting.result(WAIT_S)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    job = answer.json
    assert (job["status"], len(job["result"]["labels"])) == ("succeeded", 2)
    assert "preference-applied" not in answer.headers
    # and the bucket, from which any web process answers, says the same
    assert web.ask("GET", job["urls"]["get"]).body == answer.body == web.results.get(result_key(job["id"]))


def test_a_classic_client_gets_the_label_as_text(web: Web) -> None:
    body, content_type = multipart({"myfile": ("a.jpg", jpeg(1))})
    for path in ("/upload", "/"):
        waiting = web.begin("POST", path, body, content_type=content_type)
        web.work()
        answer = waiting.result(WAIT_S)
        assert (answer.status, answer.body) == (200, b"cat")
        assert answer.headers["content-type"].startswith("text/plain")
        assert web.ask("GET", f"/v1/jobs/{answer.headers['x-job-id']}").json["status"] == "succeeded"


def test_a_failed_job_is_a_problem_to_who_waits_and_a_job_to_who_asks(web: Web) -> None:
    # given: an image that disappears before a worker reads it
    for path in ("/v1/classify", "/upload"):
        waiting = web.begin("POST", path, jpeg(2))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        web.images.delete(json.loads(received.body)["key"])
        web.queue.nack([received.receipt])
        web.work()
        # when
        answer = waiting.result(WAIT_S)
        # then
        assert is_problem(answer, 410, "image_gone")
        job = answer.json["job"]
        assert answer.headers["location"] == job["urls"]["get"]
        assert web.ask("GET", job["urls"]["get"]).json == job
        assert web.ask("GET", job["urls"]["get"]).status == 200


def test_who_does_not_wait_gets_a_place_to_look(tmp_path: Path) -> None:
    with Web(tmp_path) as web:  # what other tests sent would count
        # when
        answer = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC)
        # then
        assert answer.status == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.headers["retry-after"] == "1"
        location = answer.headers["location"]
        queued = web.ask("GET", location)
        assert queued.json == answer.json
        assert (queued.json["status"], queued.headers["retry-after"]) == ("queued", "1")
        # and with others before it, it is told the same as those who come behind them
        for seed in range(25):
            last = web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC)
        # A job takes a tenth of a second, and 0.8 s a start, once it was noticed that no worker works.
        deadline_s = time.monotonic() + WAIT_S
        while web.ask("GET", last.headers["location"]).headers["retry-after"] != "4":
            assert time.monotonic() < deadline_s
        last = web.ask("POST", "/v1/classify", jpeg(25), **ASYNC)
        asked = web.ask("GET", last.headers["location"])
        assert last.headers["retry-after"] == asked.headers["retry-after"] == "4"
        assert web.ask("GET", location).headers["retry-after"] == "1"
        web.work()
        assert web.ask("GET", location).json["status"] == "succeeded"


def test_another_web_process_answers_from_the_buckets_alone(web: Web) -> None:
    # given: one that has neither started anything nor heard of the job
    location = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).headers["location"]
    other = build_app(web.ports())
    # then
    assert asyncio.run(call(other, "GET", location)).json["status"] == "queued"
    web.work()
    assert asyncio.run(call(other, "GET", location)).json["status"] == "succeeded"


def test_a_key_gives_the_same_document_again(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify", jpeg(1), idempotency_key="web-once")
    web.work()
    first = waiting.result(WAIT_S)
    again = web.ask("POST", "/v1/classify", jpeg(1), idempotency_key="web-once")
    assert (again.status, again.body) == (200, first.body)
    reused = web.ask("POST", "/v1/classify", jpeg(2), idempotency_key="web-once")
    assert is_problem(reused, 422, "idempotency_key_reused")


def test_a_lost_reply_costs_a_look_and_a_failing_look_costs_another(web: Web) -> None:
    """The sweep goes on after a backend's error and after a result that cannot be read."""
    # given: two who wait, for results whose replies never come
    ids: list[str] = []
    waiting = []
    for seed in (1, 2):
        waiting.append(web.begin("POST", "/v1/classify", jpeg(seed)))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        ids.append(json.loads(received.body)["job"])
    document = web.ask("GET", f"/v1/jobs/{ids[1]}").json | {"status": "succeeded", "result": {"labels": []}}
    web.results.put(result_key(ids[0]), b"garbage")
    web.results.put(result_key(ids[1]), json.dumps(document).encode())
    web.recorder.failures["results.get"] = BackendUnavailable("folder store", "get")
    web.recorder.calls.clear()
    # when: the first looks fail
    web.clock.advance(3)
    assert web.recorder.await_call("results.get", WAIT_S)
    web.recorder.failures.clear()
    web.clock.advance(10)
    # then
    answer = waiting[1].result(WAIT_S)
    assert (answer.status, answer.json["id"]) == (200, ids[1])
    # and once the other's result can be read it is found too
    web.results.put(result_key(ids[0]), json.dumps(document | {"id": ids[0]}).encode())
    web.clock.advance(60)
    answer = waiting[0].result(WAIT_S)
    assert (answer.status, answer.json["id"]) == (200, ids[0])


# --- JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_json_may_hold_the_image_and_the_parameters(web: Web, prefix: str) -> None:
    body = json.dumps({"image": prefix + base64.b64encode(jpeg(1)).decode(), "top_k": 2, "model": None})
    waiting = web.begin("POST", "/v1/classify", body.encode(), content_type="application/json")
    web.work()
    answer = waiting.result(WAIT_S)
    assert (answer.status, len(answer.json["result"]["labels"])) == (200, 2)


@pytest.mark.parametrize(
    ("target", "document", "status", "code"),
    [
        ("", {"image": "?"}, 400, "bad_parameter"),
        ("", {"image": ""}, 400, "image_missing"),
        ("", {"picture": "aGVsbG8="}, 400, "parameter_unknown"),
        ("", {"image": "aGVsbG8=", "topk": 1}, 400, "parameter_unknown"),
        ("", {"image": "aGVsbG8="}, 415, "image_type_unsupported"),
        ("", {"image": "https://example.org/a.jpg"}, 415, "image_by_url"),
        ("?top_k=1", {"image": base64.b64encode(jpeg(1)).decode(), "top_k": 2}, 400, "parameter_repeated"),
    ],
)
def test_json_that_holds_no_image_is_refused(
    web: Web, target: str, document: Any, status: int, code: str
) -> None:
    body = json.dumps(document).encode()
    answer = web.ask("POST", f"/v1/classify{target}", body, content_type="application/json")
    assert is_problem(answer, status, code)


def test_the_type_of_json_is_not_trusted(web: Web) -> None:
    assert web.ask("POST", "/v1/classify", jpeg(1), content_type="application/json", **ASYNC).status == 202
    long = bytes(IMAGE_BYTES_MAX * 4 // 3)
    assert is_problem(
        web.ask("POST", "/v1/classify", long, content_type="application/json"), 413, "image_too_large"
    )
    text = json.dumps({"image": base64.b64encode(bytes(IMAGE_BYTES_MAX + 1)).decode()}).encode()
    refused = web.ask("POST", "/v1/classify", text, content_type="application/json")
    assert is_problem(refused, 413, "image_too_large")


# --- cancelling ---------------------------------------------------------------------------------------------


def test_a_canceled_job_has_its_outcome_at_once_and_for_good(web: Web) -> None:
    # given: a request that waits
    waiting = web.begin("POST", "/v1/classify", jpeg(1))
    (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
    job_id = json.loads(received.body)["job"]
    # when
    canceled = web.ask("POST", f"/v1/jobs/{job_id}/cancel")
    # then
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    assert is_problem(waiting.result(WAIT_S), 410, "job_canceled")
    # and what a worker finds later does not count
    web.queue.nack([received.receipt])
    web.work()
    assert web.ask("GET", f"/v1/jobs/{job_id}").body == canceled.body
    assert web.ask("POST", f"/v1/jobs/{job_id}/cancel").body == canceled.body


def test_what_is_finished_or_unknown_cannot_be_canceled(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify", jpeg(1))
    web.work()
    job = waiting.result(WAIT_S).json
    assert is_problem(web.ask("POST", f"/v1/jobs/{job['id']}/cancel"), 409, "job_finished")
    assert web.ask("GET", job["urls"]["get"]).json == job
    assert is_problem(web.ask("POST", f"/v1/jobs/{new_job_id(0.0)}/cancel"), 404, "job_not_found")
    assert is_problem(web.ask("POST", "/v1/jobs/x/cancel"), 404, "job_not_found")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/v1/classify?top_k=0", {}, 400, "bad_parameter"),
        ("/v1/classify?model=other", {}, 404, "model_not_found"),
        ("/v1/classify", {"cancel_after": "never"}, 400, "bad_parameter"),
        ("/v1/classify", {"idempotency_key": ""}, 400, "idempotency_key_invalid"),
        ("/v1/classify", {"content_length": "99999999"}, 413, "image_too_large"),
        ("/upload?min_confidence=2", {}, 400, "bad_parameter"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_body_is_read(
    web: Web, target: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = web.ask("POST", target, jpeg(1), **headers)
    assert is_problem(answer, status, code)
    assert answer.chunks_read == 0
    assert web.recorder.calls.count("images.put") == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "image_missing"),
        (b"hello", 415, "image_type_unsupported"),
        (b"\xff\xd8\xff", 422, "image_header_invalid"),
        (bytes(IMAGE_BYTES_MAX + 1), 413, "image_too_large"),
    ],
)
def test_a_body_that_is_no_image_is_refused(web: Web, body: bytes, status: int, code: str) -> None:
    assert is_problem(web.ask("POST", "/v1/classify", body, **ASYNC), status, code)
    assert "images.put" not in web.recorder.calls
    assert web.count("beholder_upload_bytes") == 0


def test_an_upload_without_a_length_is_refused_as_soon_as_it_is_too_long(web: Web) -> None:
    answer = web.ask("POST", "/v1/classify", [bytes(10_000)] * 1000)
    assert is_problem(answer, 413, "image_too_large")
    assert answer.chunks_read <= 13
    assert web.count("beholder_upload_bytes") == 0


def test_a_client_that_leaves_within_its_upload_leaves_nothing(web: Web) -> None:
    before = web.count("beholder_requests_total", route="/v1/classify", method="POST", status="499")
    with pytest.raises(Gone):
        web.ask("POST", "/v1/classify", [jpeg(1)[:100]], leaves=True)
    assert web.count("beholder_upload_bytes") == 0
    assert (
        web.count("beholder_requests_total", route="/v1/classify", method="POST", status="499") == before + 1
    )
    assert "images.put" not in web.recorder.calls


def test_beyond_the_backlog_a_job_is_refused_with_a_retry_after(tmp_path: Path) -> None:
    with Web(tmp_path, WebLimits(backlog_max=2, waiters_max=1)) as web:
        for seed in (1, 2):
            assert web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).status == 202
        refused = web.ask("POST", "/v1/classify", jpeg(3), **ASYNC)
        assert is_problem(refused, 503, "overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert web.queue.depth().backlog == 2


def test_who_does_not_wait_leaves_room_for_those_who_do(tmp_path: Path) -> None:
    with Web(tmp_path, WebLimits(backlog_max=4, wait_s_default=0.01)) as web:
        for seed in range(3):
            assert web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).status == 202
        assert is_problem(web.ask("POST", "/v1/classify", jpeg(4), **ASYNC), 503, "overloaded")
        # and `wait=0` is asynchronous too
        assert web.ask("POST", "/v1/classify", jpeg(4), prefer="wait=0").status == 503
        assert web.ask("POST", "/v1/classify", jpeg(5)).status == 202
        assert (web.queue.depth().backlog, web.queue.depth().interactive) == (4, 1)
        assert is_problem(web.ask("POST", "/v1/classify", jpeg(6)), 503, "overloaded")


def test_many_short_waits_do_not_keep_out_a_caller_that_waits_long(tmp_path: Path) -> None:
    with Web(tmp_path, WebLimits(backlog_max=40)) as web:
        # given: more of them than can be answered within a second, and more than may wait at all
        bulk = [web.begin("POST", "/v1/classify", jpeg(seed), prefer="wait=1") for seed in range(50)]
        statuses = sorted(one.result(WAIT_S).status for one in bulk)
        assert statuses == [202] * 30 + [503] * 20
        # when
        waiting = web.begin("POST", "/v1/classify", jpeg(50), prefer="wait=60")
        # then: it is let in
        while web.queue.depth().backlog < 31:
            assert not waiting.done()
        # and is answered before those that were too many
        while web.queue.depth().interactive:
            web.work()
        assert waiting.result(WAIT_S).status == 200
        assert web.queue.depth().backlog >= 10


@pytest.mark.parametrize(
    ("image", "headers", "expected"),
    [
        (jpeg(1), {}, Priority.INTERACTIVE),
        (jpeg(1), ASYNC, Priority.ASYNCHRONOUS),
        (jpeg(1), {"prefer": "wait=0"}, Priority.ASYNCHRONOUS),
        (jpeg(1), {"prefer": "wait=1"}, Priority.INTERACTIVE),
        (png(1000, 1000), ASYNC, Priority.HEAVY),
        (png(1000, 1000), {}, Priority.HEAVY | Priority.INTERACTIVE),
        (png(999, 1000), {}, Priority.INTERACTIVE),
        # a file that is long counts by its bytes, whatever its header says
        (png(100, 100) + bytes(500_000), ASYNC, Priority.HEAVY),
        # pixels of a JPEG count a quarter
        (jpeg(1, 1024), ASYNC, Priority.ASYNCHRONOUS),
    ],
    ids=str,
)
def test_the_class_of_a_message_follows_the_wait_and_the_cost_of_decoding(
    tmp_path: Path,
    image: bytes,
    headers: dict[str, str],
    expected: Priority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = WebLimits(heavy_pixels_min=1_000_000, wait_s_default=0.01, wait_s_max=0.01)
    with Web(tmp_path, limits) as web:
        sent: list[Priority] = []
        send = web.queue.send

        def watch(bodies: Sequence[bytes], *, priority: Priority) -> None:
            sent.append(priority)
            send(bodies, priority=priority)

        monkeypatch.setattr(web.queue, "send", watch)
        assert web.ask("POST", "/v1/classify", image, **headers).status == 202
        assert sent == [expected]


def test_beyond_the_pending_requests_a_request_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    with Web(tmp_path, WebLimits(waiters_max=1)) as web:
        first = web.begin("POST", "/v1/classify", jpeg(1))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        refused = web.ask("POST", "/v1/classify", jpeg(2))
        assert is_problem(refused, 503, "overloaded")
        assert len(list(web.images.list(""))) == 1
        # who does not wait is no pending reply
        assert web.ask("POST", "/v1/classify", jpeg(3), **ASYNC).status == 202
        web.queue.nack([received.receipt])
        web.work()
        assert first.result(WAIT_S).status == 200


def test_whose_time_is_over_is_answered_where_only_the_reply_is_missing(tmp_path: Path) -> None:
    # given: a result without a reply, and a clock that stands, so that nobody looks meanwhile
    with Web(tmp_path, WebLimits(wait_s_default=1.0)) as web:
        waiting = web.begin("POST", "/v1/classify", jpeg(1))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        job_id = json.loads(received.body)["job"]
        queued = web.ask("GET", f"/v1/jobs/{job_id}").json
        document = queued | {"status": "succeeded", "result": {"labels": []}}
        # when
        web.results.put(result_key(job_id), json.dumps(document).encode())
        # then
        answer = waiting.result(WAIT_S)
        assert (answer.status, answer.json["id"]) == (200, job_id)


def test_who_waits_too_long_gets_a_place_to_look(tmp_path: Path) -> None:
    with Web(tmp_path, WebLimits(wait_s_default=0.01)) as web:
        for path in ("/v1/classify", "/upload"):
            answer = web.ask("POST", path, jpeg(1))
            assert answer.status == 202
            assert web.ask("GET", answer.headers["location"]).json["status"] == "queued"
        assert b"beholder_waiting_requests 0.0" in web.ask("GET", "/metrics").body


@pytest.mark.parametrize(
    ("call_name", "error", "code"),
    [
        ("images.put", BackendFull("folder store", "put"), "storage_full"),
        ("images.put", BackendUnavailable("folder store", "put"), "backend_unavailable"),
        ("queue.send", BackendUnavailable("sqlite queue", "send"), "backend_unavailable"),
    ],
)
def test_a_backend_that_fails_is_worth_another_try(
    web: Web, call_name: str, error: Exception, code: str
) -> None:
    web.recorder.failures[call_name] = error
    answer = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC)
    assert is_problem(answer, 503, code)
    assert int(answer.headers["retry-after"]) > 0
    assert web.queue.depth().backlog == 0


# --- what nobody foresaw ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "call_name"),
    [
        ("GET", "/v1/jobs/00000000-03e8-7000-8000-000000000000", "results.get"),
        ("POST", "/v1/classify", "images.put"),
    ],
)
def test_an_unexpected_error_is_a_problem_without_internal_details(
    web: Web, caplog: pytest.LogCaptureFixture, method: str, target: str, call_name: str
) -> None:
    # given
    web.recorder.failures[call_name] = ZeroDivisionError("a secret of ours")
    # when
    answer = web.ask(method, target, jpeg(1) if method == "POST" else b"", x_request_id="mine", **ASYNC)
    # then
    assert is_problem(answer, 500, "internal_error")
    for secret in (b"secret", b"Traceback", b"ZeroDivision", b".py"):
        assert secret not in answer.body
    record = next(one for one in caplog.records if one.levelno == logging.ERROR)
    assert record.action == "web.error"  # type: ignore[attr-defined]
    assert record.facts == {"request_id": "mine"}  # type: ignore[attr-defined]
    assert record.exc_info is not None
    # and the next request is served
    web.recorder.failures.clear()
    assert web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).status == 202


def test_an_error_within_an_answer_that_has_begun_is_the_server_s_to_end() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(call(RequestMiddleware(app, Telemetry()), "GET", "/"))


# --- every exchange -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mine", ["abc", "A-1_b.2", "x" * 64])
def test_the_caller_s_request_id_is_returned(web: Web, mine: str) -> None:
    for target in ("/healthz", "/nowhere"):
        assert web.ask("GET", target, x_request_id=mine).headers["x-request-id"] == mine


@pytest.mark.parametrize("theirs", ["", "x" * 65, "a b", "a\r\nset-cookie: b", "é", '<script>"'])
def test_an_invalid_request_id_is_replaced(web: Web, theirs: str) -> None:
    found = web.ask("GET", "/healthz", x_request_id=theirs).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", found)


def test_each_request_without_an_id_gets_a_new_id(web: Web) -> None:
    assert len({web.ask("GET", "/healthz").headers["x-request-id"] for _ in range(10)}) == 10


def test_no_answer_is_guessed_at_by_a_browser(web: Web) -> None:
    for target in ("/", "/nowhere", "/metrics"):
        assert web.ask("GET", target).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/v1/classify", {"POST"}),
        ("PUT", "/", {"GET", "HEAD", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/v1/jobs/x", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_refused_with_those_that_the_path_takes(
    web: Web, method: str, target: str, allow: set[str]
) -> None:
    answer = web.ask(method, target)
    assert is_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("target", ["/nowhere", "/v1/classify/", "/v1/jobs/", "//", "/v1", "/healthz/x"])
def test_an_unknown_path_is_a_problem(web: Web, target: str) -> None:
    assert is_problem(web.ask("GET", target), 404, "path_not_found")


@pytest.mark.parametrize("job_id", ["none", "..", "x" * 5000, "{}", "00000000-03E8-7000-8000-000000000000"])
def test_what_is_no_job_id_reaches_no_bucket(web: Web, job_id: str) -> None:
    assert is_problem(web.ask("GET", f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert web.recorder.calls == [] or set(web.recorder.calls) == {"queue.depth"}


def test_an_unknown_job_is_looked_for_in_both_buckets(web: Web) -> None:
    assert is_problem(web.ask("GET", f"/v1/jobs/{new_job_id(1.0)}"), 404, "job_not_found")
    assert {"results.get", "images.list"} <= set(web.recorder.calls)


def test_labels_of_metrics_are_routes_and_not_what_callers_write(web: Web) -> None:
    # given
    targets = ["/x", "/y", "/%00", *(f"/v1/jobs/{new_job_id(float(number))}" for number in range(20))]
    for target in targets:
        web.ask("GET", target)
    for method in ("BREW", "MKCOL", "X" * 1000):
        web.ask(method, "/healthz")
    # when
    text = web.ask("GET", "/metrics").body.decode()
    # then
    routes = set(re.findall(r'beholder_requests_total\{.*?route="([^"]*)"', text))
    methods = set(re.findall(r'beholder_requests_total\{.*?method="([^"]*)"', text))
    assert {"unknown", "/v1/jobs/{job_id}", "/healthz"} <= routes
    known = {"/", "/upload", "/v1/classify", "/v1/jobs/{job_id}", "/healthz", "/metrics", "unknown"}
    known |= {"/v1/jobs/{job_id}/cancel"}
    assert routes <= known | {"/readyz", "/v1/models", "/v1/limits", "/openapi.json", "/docs"}
    assert methods <= {"GET", "POST", "PUT", "HEAD", "other"}


# --- the service itself -------------------------------------------------------------------------------------


def test_the_service_describes_itself(web: Web) -> None:
    assert web.ask("GET", "/healthz").json == {"status": "ok"}
    assert web.ask("GET", "/v1/models").json["default"] == "first"
    assert web.ask("GET", "/v1/limits").json["image_bytes_max"] == IMAGE_BYTES_MAX
    assert web.ask("GET", "/").json["version"] == "1.2.3"
    assert web.ask("GET", "/openapi.json").json["openapi"].startswith("3.")
    page = web.ask("GET", "/", accept="text/html,*/*")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == "accept"
    docs = web.ask("GET", "/docs").body
    assert b"__OPENAPI__" not in docs
    head = web.ask("HEAD", "/healthz")
    assert head.status == 200


def test_metrics_are_prometheus_text(web: Web) -> None:
    web.queue.send([b"x"])
    answer = web.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'beholder_queue_depth{state="backlog"} 1.0' in answer.body
    # a queue that does not answer costs its own series only
    web.recorder.failures["queue.depth"] = BackendUnavailable("sqlite queue", "depth")
    answer = web.ask("GET", "/metrics")
    assert answer.status == 200
    assert b"beholder_queue_depth{" not in answer.body


def test_readiness_names_every_backend_that_does_not_answer(web: Web) -> None:
    assert web.ask("GET", "/readyz").json == {"status": "ready", "problems": []}
    web.recorder.failures["queue.depth"] = BackendUnavailable("sqlite queue", "depth")
    web.recorder.failures["results.get"] = BackendUnavailable("folder store", "list")
    answer = web.ask("GET", "/readyz")
    assert (answer.status, answer.json["status"], len(answer.json["problems"])) == (503, "unready", 2)
    # and is alive all the same
    assert web.ask("GET", "/healthz").status == 200


def test_accepted_jobs_and_their_outcomes_are_counted(tmp_path: Path) -> None:
    with Web(tmp_path) as web:
        waiting = web.begin("POST", "/v1/classify", jpeg(1))
        web.work()
        waiting.result(WAIT_S)
        assert web.count("beholder_jobs_total", state="queued") == 1
    # the listener counts after it has woken who waits; it has stopped by now
    assert web.count("beholder_jobs_total", state=str(JobStatus.SUCCEEDED)) == 1
    assert web.count("beholder_requests_total", route="/v1/classify", method="POST", status="200") == 1


def test_what_is_run_beside_the_application_starts_and_stops_with_it(tmp_path: Path) -> None:
    # given
    rig, ticked, before = Web(tmp_path), threading.Event(), threads()

    def tick() -> float:
        ticked.set()
        return 3600.0

    rig.app = build_app(rig.ports(), ticks={"clerk": tick})
    # when
    with rig:
        assert ticked.wait(WAIT_S)
        assert threads() >= before + Counter(["clerk", "replies", "admission", "submit-0"])
    # then
    assert threads() == before


def threads() -> Counter[str]:
    """Count the threads by name."""
    return Counter(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
