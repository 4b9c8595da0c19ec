"""Direct uploads: a link, one image, one job; with everything behind the web tier in memory."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.job import Failure, Job, JobStatus, Message, new_job_id
from beholder.job.job import Result
from beholder.model.decode.limits import ImageLimits
from beholder.queue.memory import MemoryQueue
from beholder.results.outcomes import failed_job, store_outcome
from beholder.store.folder import FolderStore
from beholder.store.memory import MemoryStore
from beholder.store.recovery import unfinished
from beholder.store.retention import Bounds, expired
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.submitter import keyed_job_id
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web import Ask, Breaking, ask, memory_ports

JSON = {"content_type": "application/json"}
LATER = JSON | {"prefer": "respond-async"}
IMAGE = jpeg(1)


def link(size: int = len(IMAGE), **more: str) -> Ask:
    return Ask("POST", "/v1/uploads", json.dumps({"bytes": size}).encode(), JSON | more)


def put(upload_id: str, data: bytes = IMAGE, **headers: str) -> Ask:
    return Ask("PUT", f"/v1/uploads/{upload_id}", data, headers)


def classify(upload_id: Any, **headers: str) -> Ask:
    body = json.dumps({"upload": upload_id, "top_k": 2}).encode()
    return Ask("POST", "/v1/classify", body, LATER | headers)


def new_id(ports: WebPorts) -> str:
    return str(ask(ports, link())[0].json["id"])


def codes(answers: list[Answer]) -> list[object]:
    return [one.json.get("code", one.status) if one.body else one.status for one in answers]


def test_an_image_that_was_sent_to_a_link_makes_one_job() -> None:
    queue = MemoryQueue()
    ports = memory_ports(queue=queue)
    (made,) = ask(ports, link())
    upload_id = made.json["id"]
    assert made.status == 201
    assert made.json["method"] == "PUT"
    assert made.json["url"].endswith(f"/v1/uploads/{upload_id}")

    sent, job, again = ask(ports, put(upload_id), classify(upload_id), classify(upload_id))

    assert sent.status == 204
    assert (job.status, job.json["id"]) == (202, upload_id)
    assert again.json["code"] == "upload_taken"
    (received,) = queue.receive(count_max=10, wait_s=0)
    message = Message.from_bytes(received.body)
    assert message.job_id == upload_id
    assert message.image is None
    assert message.input.image_bytes == len(IMAGE)
    assert message.input.options.top_k == 2
    assert ports.images.get(message.input.image_key) == IMAGE


MODELS = tuple(ServedModel(name, "1", "MIT", "", 4, "as-is", None) for name in ("first", "second"))
LABELS = {one.reference: ("cat", "dog", "hen", "fox") for one in MODELS}
ASKED = {"model": "second", "top_k": 2, "include": ["cat", "fox"], "exclude": ["hen"]}


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_message_that_was_lost_is_made_anew_with_all_that_was_asked(kind: str, tmp_path: Path) -> None:
    # given a job of an image that was sent long before
    # The folder's files have the real time, which is earlier.
    clock, queue = ManualClock(4_000_000_000.0), MemoryQueue()
    images, results = (
        MemoryStore(clock=clock) if kind == "memory" else FolderStore(tmp_path / name) for name in ("i", "o")
    )
    ports = memory_ports(
        queue=queue, clock=clock, images=images, results=results, models=MODELS, labels=LABELS
    )
    upload_id = new_id(ports)
    ask(ports, put(upload_id))
    clock.advance(300.0)
    body = json.dumps({"upload": upload_id} | ASKED).encode()
    ask(ports, Ask("POST", "/v1/classify?file_name=my%20%3Acat.jpg", body, LATER))
    (sent,) = taken(queue)

    # then recovery makes the same message, but for the process that waits for its outcome
    (repaired,) = unfinished(images, results)
    assert repaired == replace(sent, reply_to=None, wants_text=True)
    # and so does a lookup, each time
    lookup = JobLookup(ports)
    for _ in range(3):
        clock.advance(100_000.0)
        found = lookup.find(upload_id)
        assert isinstance(found, Job)
        assert (found.id, found.input, found.created_at_s) == (upload_id, sent.input, sent.created_at_s)
        assert taken(queue) == [replace(sent, wants_text=True)]
    assert (sent.input.file_name, sent.model) == ("my :cat.jpg", "second@1")
    assert (sent.input.options.include, sent.input.options.exclude) == ((0, 3), (2,))


def taken(queue: MemoryQueue) -> list[Message]:
    received = queue.receive(count_max=10, wait_s=0)
    queue.ack([one.receipt for one in received])
    return [Message.from_bytes(one.body) for one in received]


def test_a_link_that_nothing_comes_to_leaves_nothing() -> None:
    ports = memory_ports()
    upload_id = new_id(ports)

    (answer,) = ask(ports, classify(upload_id))

    assert answer.json["code"] == "upload_not_found"
    assert not list(ports.images.list(""))
    assert not list(ports.results.list(""))


def test_an_image_that_nobody_asked_for_is_no_job() -> None:
    ports = memory_ports()
    upload_id = new_id(ports)

    _, found = ask(ports, put(upload_id), Ask("GET", f"/v1/jobs/{upload_id}"))

    assert found.json["code"] == "job_not_found"
    assert not list(unfinished(ports.images, ports.results))
    ask(ports, classify(upload_id))
    assert [one.job_id for one in unfinished(ports.images, ports.results)] == [upload_id]
    assert ask(ports, Ask("GET", f"/v1/jobs/{upload_id}"))[0].json["status"] == "queued"


def test_a_link_takes_one_image_in_its_time() -> None:
    clock = ManualClock(1_800_000_000.0)
    ports = memory_ports(clock=clock)
    first, second = new_id(ports), new_id(ports)

    assert codes(ask(ports, put(first), put(first))) == [204, "upload_taken"]
    clock.advance(ports.limits.upload_link_s + 1)
    assert codes(ask(ports, put(second), put("x"), put("00000000-0000-4000-8000-000000000000"))) == [
        "upload_link_expired",
        "upload_not_found",
        "upload_not_found",
    ]


@pytest.mark.parametrize("is_finished", [False, True], ids=["queued", "finished"])
@pytest.mark.parametrize(
    "target", ["/v1/classify", "/v1/classify?top_k=2", "/v1/classify?file_name=upload%3D"]
)
def test_the_id_of_a_job_that_was_made_otherwise_is_no_link(target: str, *, is_finished: bool) -> None:
    # given
    queue = MemoryQueue()
    ports = memory_ports(queue=queue, clock=ManualClock(1_800_000_000.0))
    (posted,) = ask(ports, Ask("POST", target, IMAGE, {"prefer": "respond-async"}))
    (message,) = taken(queue)
    if is_finished:
        store_outcome(ports.results, failed_job(message, Failure("gone", 422, "gone"), 1_800_000_000.0))
    before = [one.key for one in ports.images.list("")]
    # when
    answers = ask(ports, put(message.job_id, b"other"), classify(message.job_id))
    # then
    assert posted.status == 202
    assert codes(answers) == ["upload_not_found", "upload_not_found"]
    assert [one.key for one in ports.images.list("")] == before
    assert not taken(queue)


def test_only_the_id_of_a_link_in_its_time_is_one() -> None:
    clock = ManualClock(1_800_000_000.0)
    ports = memory_ports(clock=clock)
    link_s = ports.limits.upload_link_s
    future, expired_id = new_job_id(clock.now_s() + 60), new_job_id(clock.now_s() - link_s - 1)
    submitted, finished = new_id(ports), new_id(ports)
    ask(ports, put(submitted), put(finished), classify(submitted), classify(finished))
    job = Job(finished, JobStatus.SUCCEEDED, clock.now_s(), result=Result(()))
    store_outcome(ports.results, job)
    ids = {
        future: "upload_not_found",
        expired_id: "upload_link_expired",
        keyed_job_id("a key"): "upload_link_expired",
        str(uuid.UUID(int=1, version=4)): "upload_not_found",
        submitted: "upload_taken",
        finished: "upload_taken",
    }
    before = [one.key for one in ports.images.list("")]
    assert codes(ask(ports, *(put(one, b"other") for one in ids))) == list(ids.values())
    assert [one.key for one in ports.images.list("")] == before


def test_another_key_adds_nothing_to_a_link_that_was_used() -> None:
    store, clock = MemoryStore(), ManualClock()
    mine, other = (
        create_key(store, name=name, scopes=[KeyScope.WRITE], now_s=0.0).text for name in ("a", "b")
    )
    ports = memory_ports(results=store, clock=clock, keys=KnownKeys(store, clock))
    upload_id = ask(ports, link(x_api_key=mine))[0].json["id"]
    answers = ask(ports, put(upload_id, x_api_key=mine), put(upload_id, x_api_key=other))
    assert codes(answers) == [204, "upload_not_found"]
    assert len(list(ports.images.list(""))) == 1


def test_sizes_are_bounded_at_each_step() -> None:
    ports = memory_ports(limits=WebLimits(image=ImageLimits(image_bytes_max=100)))
    upload_id = new_id(replace(ports, limits=WebLimits()))

    refused = ask(ports, link(101), link(0), put(upload_id, bytes(101)), put(upload_id, b""))
    assert codes(refused) == ["image_too_large", "image_missing", "image_too_large", "image_missing"]
    ask(replace(ports, limits=WebLimits()), put(upload_id))
    assert codes(ask(ports, classify(upload_id))) == ["image_too_large"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "bad_parameter"),
        ({"bytes": "7"}, "bad_parameter"),
        ({"bytes": True}, "bad_parameter"),
        ({"bytes": -1}, "bad_parameter"),
        ({"bytes": 1.5}, "bad_parameter"),
        ({"bytes": float("nan")}, "bad_parameter"),
        ({"bytes": float("inf")}, "bad_parameter"),
        ({"bytes": 7, "content_type": "a"}, "bad_parameter"),
        ({"bytes": 7, "content_type": "a/b\r\nx: y"}, "bad_parameter"),
        ({"bytes": 7, "name": "a"}, "parameter_unknown"),
    ],
)
def test_a_request_for_a_link_says_what_comes(document: object, code: str) -> None:
    assert codes(ask(memory_ports(), Ask("POST", "/v1/uploads", json.dumps(document).encode(), JSON))) == [
        code
    ]


def test_an_upload_belongs_to_the_key_that_asked_for_it() -> None:
    store, clock = MemoryStore(), ManualClock()
    mine, other = (
        create_key(store, name=name, scopes=[KeyScope.WRITE], now_s=0.0).text for name in ("a", "b")
    )
    ports = memory_ports(results=store, clock=clock, keys=KnownKeys(store, clock))

    (made,) = ask(ports, link(x_api_key=mine))
    upload_id = made.json["id"]
    answers = ask(
        ports,
        put(upload_id),
        put(upload_id, x_api_key=mine),
        classify(upload_id, x_api_key=other),
        classify(upload_id, x_api_key=mine),
    )

    assert codes(answers) == ["key_missing", 204, "upload_not_found", 202]


def test_an_idempotency_key_is_no_key_of_an_upload() -> None:
    ports = memory_ports()
    upload_id = new_id(ports)

    assert codes(ask(ports, put(upload_id), classify(upload_id, idempotency_key="k"))) == [
        204,
        "idempotency_key_invalid",
    ]


def test_a_message_that_could_not_be_sent_leaves_the_upload_as_it_was() -> None:
    ports = memory_ports()
    upload_id = new_id(ports)
    ask(ports, put(upload_id))
    broken = MemoryQueue()
    broken.send = Breaking(BackendUnavailable("queue", "send")).send  # type: ignore[method-assign]

    assert codes(ask(replace(ports, queue=broken), classify(upload_id))) == ["backend_unavailable"]
    assert codes(ask(ports, classify(upload_id))) == [202]


def test_a_signed_link_leads_elsewhere() -> None:
    asked: list[tuple[str, int, str, float]] = []

    def presign(*wanted: Any) -> tuple[str, Mapping[str, str]]:
        asked.append(wanted)
        return "https://bucket.example/key?signed", {"if-none-match": "*"}

    ports = memory_ports(presign=presign)
    (made,) = ask(ports, link())
    upload_id = made.json["id"]

    assert made.json["url"] == "https://bucket.example/key?signed"
    assert made.json["headers"] == {"if-none-match": "*"}
    assert asked == [(f"images/{upload_id}/upload=", len(IMAGE), "application/octet-stream", 900.0)]
    assert codes(ask(ports, put(upload_id))) == ["upload_not_found"]
    ports.images.put(asked[0][0], IMAGE)
    assert codes(ask(ports, classify(upload_id))) == [202]


def test_an_image_that_nobody_asked_for_is_deleted_when_it_is_old() -> None:
    ports = memory_ports()
    left, asked_for = new_id(ports), new_id(ports)
    ask(ports, put(left), put(asked_for), classify(asked_for))
    bounds = Bounds(age_s_max=60.0, bytes_max=None)
    stored_at_s = max(one.stored_at_s for one in ports.images.list("images/"))

    assert not list(expired(ports.images, ports.results, bounds, stored_at_s + 30))
    (found,) = [
        one for one in expired(ports.images, ports.results, bounds, stored_at_s + 90) if one.image_keys
    ]
    assert found.image_keys == (f"images/{left}/upload=",)
    # The mark that the other one was asked for stays as long as its job is not finished.
    assert all(
        f"resent/{asked_for}.json" not in one.keys
        for one in expired(ports.images, ports.results, bounds, 9e9)
    )
