"""How shots are sent, on a clock of the test's own; and how replies are read."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from beholder.loadgen.answer import Answer, Response, response_from
from beholder.loadgen.body import Bodies, multipart_body
from beholder.loadgen.engine import drive
from beholder.loadgen.plan import Arrival, LoadPlan, Shot

URL = "http://127.0.0.1:8080/upload"
IMAGES = (Path("a.jpg"), Path("b.jpg"))


class FakeTime:
    """A clock that a sleep, or the service, moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def now_s(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def answers_of(plan: LoadPlan, send: Callable[[Shot], Awaitable[Response]], time: FakeTime) -> list[Answer]:
    answers: list[Answer] = []
    asyncio.run(drive(plan, send, answers.append, now_s=time.now_s, sleep=time.sleep))
    return answers


def taking(service_s: float, time: FakeTime) -> Callable[[Shot], Awaitable[Response]]:
    async def send(shot: Shot) -> Response:
        time.now += service_s
        return Response(200, label=f"label {shot.index}")

    return send


def test_open_loop_latency_counts_from_the_intended_time() -> None:
    # given a service that takes 1 s, one connection, and requests that fall due every 0.5 s
    time = FakeTime()
    plan = LoadPlan(URL, IMAGES, request_count=4, rate_per_s=2, arrival=Arrival.CONSTANT, in_flight_max=1)
    # when they are sent
    answers = answers_of(plan, taking(1.0, time), time)
    # then each is half a second later than the one before, and that counts
    assert [answer.due_at_s for answer in answers] == [0.0, 0.5, 1.0, 1.5]
    assert [answer.sent_at_s for answer in answers] == [0.0, 1.0, 2.0, 3.0]
    assert [answer.latency_s for answer in answers] == [1.0, 1.5, 2.0, 2.5]


def test_open_loop_waits_until_a_shot_is_due() -> None:
    time = FakeTime()
    plan = LoadPlan(URL, IMAGES, request_count=3, rate_per_s=2, arrival=Arrival.CONSTANT, in_flight_max=1)
    answers = answers_of(plan, taking(0.125, time), time)
    assert [answer.sent_at_s for answer in answers] == [0.0, 0.5, 1.0]
    assert [answer.latency_s for answer in answers] == [0.125, 0.125, 0.125]


def test_closed_loop_latency_counts_from_the_sending() -> None:
    time = FakeTime()
    plan = LoadPlan(URL, IMAGES, request_count=3, concurrency=1)
    answers = answers_of(plan, taking(1.0, time), time)
    assert [answer.due_at_s for answer in answers] == [0.0, 1.0, 2.0]
    assert [answer.latency_s for answer in answers] == [1.0, 1.0, 1.0]
    assert [(answer.file, answer.response.label) for answer in answers] == [
        ("a.jpg", "label 0"),
        ("b.jpg", "label 1"),
        ("a.jpg", "label 2"),
    ]


def test_closed_loop_begins_nothing_after_its_duration() -> None:
    time = FakeTime()
    plan = LoadPlan(URL, IMAGES, concurrency=1, duration_s=2.5)
    assert [answer.sent_at_s for answer in answers_of(plan, taking(1.0, time), time)] == [0.0, 1.0, 2.0]


def test_a_timer_that_fires_early_makes_no_latency_shorter() -> None:
    assert Answer("a.jpg", 1.0, 0.75, 1.25, Response(200, label="cat")).latency_s == 0.5


def job(**changes: Any) -> bytes:
    labels = [
        {"name": "tench", "index": 0, "confidence": 0.9},
        {"name": "cock", "index": 7, "confidence": 0.1},
    ]
    return json.dumps(
        {"id": "j1", "status": "succeeded", "result": {"labels": labels}, "error": None} | changes
    ).encode()


@pytest.mark.parametrize(
    ("status", "kind", "body", "expected"),
    [
        (200, "text/plain; charset=utf-8", b"tench\n", Response(200, label="tench")),
        (200, "text/plain", b"", Response(200, error="answer_empty")),
        (200, "application/json", job(), Response(200, "tench", 0.9, (0, 7), "j1")),
        (200, "application/json", b"{", Response(200, error="answer_invalid")),
        (200, "application/json", b"[]", Response(200, error="answer_invalid")),
        (200, "application/json", job(status="lost"), Response(200, error="answer_invalid")),
        (
            200,
            "application/json",
            job(result={"labels": []}),
            Response(200, job_id="j1", error="answer_empty"),
        ),
        (200, "application/json", job(status="expired"), Response(200, job_id="j1", error="job_expired")),
        (
            200,
            "application/json",
            job(status="failed", error={"code": "image_truncated"}),
            Response(200, job_id="j1", error="image_truncated"),
        ),
        (202, "application/json", job(status="queued"), Response(202, job_id="j1", is_pending=True)),
        (202, "text/plain", b"wait", Response(202, is_pending=True)),
        (
            415,
            "application/problem+json",
            b'{"code": "image_type_unsupported"}',
            Response(415, error="image_type_unsupported"),
        ),
        (503, "application/problem+json", b'{"code": "overloaded"}', Response(503, error="overloaded")),
        (503, "text/html", b"<h1>busy</h1>", Response(503, error="overloaded")),
        (500, "application/json", b"[1]", Response(500, error="http_500")),
        (302, "text/html", b"", Response(302, error="http_302")),
    ],
)
def test_reads_a_response(status: int, kind: str, body: bytes, expected: Response) -> None:
    assert response_from(status, kind, body) == expected


def test_the_multipart_body_is_what_requests_sends() -> None:
    assert multipart_body("test_0.JPEG", b"\xff\xd8image", "0123abcd") == (
        b"--0123abcd\r\n"
        b'Content-Disposition: form-data; name="myfile"; filename="test_0.JPEG"\r\n'
        b"\r\n"
        b"\xff\xd8image\r\n"
        b"--0123abcd--\r\n"
    )


def test_a_file_name_cannot_break_out_of_its_header() -> None:
    body = multipart_body('a"\r\nX: y.jpg', b"", "b")
    assert b'filename="a%22%0D%0AX: y.jpg"\r\n' in body


def test_bodies_are_built_once(tmp_path: Path) -> None:
    # given two images, both read before the run
    images = (tmp_path / "a.png", tmp_path / "b.jpg")
    for image in images:
        image.write_bytes(image.name.encode())
    bodies = Bodies(images, is_raw=True, boundary="b")
    bodies.preload(2)
    # when the files go away
    images[0].unlink()
    # then the bodies are still there
    assert bodies.of(0) == (b"a.png", {"Content-Type": "image/png"})
    assert bodies.of(0) is bodies.of(0)
    assert bodies.of(1).headers == {"Content-Type": "image/jpeg"}


def test_an_image_that_was_not_preloaded_is_read_when_it_is_needed(tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"image")
    body = Bodies((image,), is_raw=False, boundary="b").of(0)
    assert body.content == multipart_body("a.jpg", b"image", "b")
    assert body.headers == {"Content-Type": "multipart/form-data; boundary=b"}
