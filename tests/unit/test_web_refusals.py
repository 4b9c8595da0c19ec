"""What the web tier refuses, and what it answers when there is no room or no time."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from beholder.errors import BackendFull, BackendUnavailable
from beholder.queue.port import Priority
from beholder.store.keys import result_key
from beholder.web.limits import WebLimits
from helpers.asgi import Gone
from helpers.images import jpeg, png
from helpers.web_process import ASYNC, IMAGE_BYTES_MAX, WAIT_S, Web, is_problem


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
    ids=lambda one: str(one)[:40],  # pytest puts ids into the environment
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
