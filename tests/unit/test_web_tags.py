"""A caller's tag: given in any form of a request, kept by the job, and found by the list."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from beholder.job import new_job_id
from beholder.store.keys import image_prefix
from beholder.store.recovery import message_of
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web_process import ASYNC, Web, is_problem

BOUNDARY = "limit"
FORM = {"content_type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"content_type": "application/json"}
TAG = "order:4711/a=b@c+d-e_f."


def form(tag: str, image: bytes) -> bytes:
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode()
    file = b'"image"; filename="a.jpg"\r\n\r\n' + image
    return part + f'"tag"\r\n\r\n{tag}\r\n'.encode() + part + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def by_upload(web: Web, image: bytes, tag: str) -> Answer:
    made = web.ask("POST", "/v1/uploads", json.dumps({"bytes": len(image)}).encode(), **JSON)
    assert web.ask("PUT", made.json["url"].removeprefix("http://"), image).status < 300
    body = json.dumps({"upload": made.json["id"], "tag": tag}).encode()
    return web.ask("POST", "/v1/classify", body, **JSON, **ASYNC)


def in_json(image: bytes, tag: str) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode(), "tag": tag}).encode()


WAYS: dict[str, Callable[[Web, bytes, str], Answer]] = {
    "query": lambda web, image, tag: web.ask("POST", f"/v1/classify?tag={tag}", image, **ASYNC),
    "form": lambda web, image, tag: web.ask("POST", "/v1/classify", form(tag, image), **FORM, **ASYNC),
    "json": lambda web, image, tag: web.ask("POST", "/v1/classify", in_json(image, tag), **JSON, **ASYNC),
    "put": lambda web, image, tag: web.ask(
        "PUT", f"/v1/jobs/{new_job_id(web.clock.now_s())}?tag={tag}", image, **ASYNC
    ),
    "upload": by_upload,
}


@pytest.fixture
def web(web: Web) -> Web:
    web.clock.advance(3600.0)
    return web


@pytest.mark.parametrize("way", WAYS)
def test_a_tag_is_kept_from_the_request_to_the_outcome(web: Web, way: str) -> None:
    tag = TAG.replace("+", "%2B") if way in ("query", "put") else TAG
    answer = WAYS[way](web, jpeg(1), tag)
    assert answer.status == 202
    job: dict[str, Any] = answer.json
    assert job["input"]["tag"] == TAG
    path = f"/v1/jobs/{job['id']}"
    assert web.ask("GET", path).json["input"]["tag"] == TAG
    # A lost message is made anew from the buckets.
    (image,) = web.images.list(image_prefix(job["id"]))
    assert message_of(job["id"], web.images.head(image.key), web.results).input.tag == TAG
    web.work()
    done = web.ask("GET", path).json
    assert (done["status"], done["input"]["tag"]) == ("succeeded", TAG)


def test_jobs_are_listed_by_their_tag(web: Web) -> None:
    made = {}
    for seed, tag in enumerate(("a", "b", "a", None)):
        web.clock.advance(1.0)
        query = f"?tag={tag}" if tag else ""
        made[seed] = web.ask("POST", f"/v1/classify{query}", jpeg(seed), **ASYNC).json["id"]
    web.work()

    def listed(query: str) -> list[str]:
        return [one["id"] for one in web.ask("GET", f"/v1/jobs?{query}").json["items"]]

    assert listed("tag=a") == [made[2], made[0]]
    assert listed("tag=b") == [made[1]]
    assert listed("tag=ab") == []
    assert listed("tag=a&status=queued") + listed("tag=a&status=succeeded") == listed("tag=a")


def test_a_tag_belongs_to_what_an_idempotency_key_names(web: Web) -> None:
    web.ask("POST", "/v1/classify?tag=a", jpeg(1), **ASYNC, idempotency_key="k")
    web.work()
    again = web.ask("POST", "/v1/classify?tag=a", jpeg(1), **ASYNC, idempotency_key="k")
    assert (again.status, again.json["input"]["tag"]) == (200, "a")
    other = web.ask("POST", "/v1/classify?tag=b", jpeg(1), **ASYNC, idempotency_key="k")
    assert is_problem(other, 422, "idempotency_key_reused")


def test_a_retry_keeps_the_tag(web: Web) -> None:
    web.classifiers["first@1"].failure = None
    job_id = web.ask("POST", "/v1/classify?tag=a", jpeg(1), **ASYNC, cancel_after="1s").json["id"]
    web.clock.advance(5.0)
    web.work()
    assert web.ask("GET", f"/v1/jobs/{job_id}").json["status"] == "expired"
    assert web.ask("POST", f"/v1/jobs/{job_id}/retry", **ASYNC).json["input"]["tag"] == "a"


@pytest.mark.parametrize("tag", ["two%20words", "x" * 65, "caf%C3%A9", "a%0A"])
def test_what_is_no_tag_is_refused(web: Web, tag: str) -> None:
    assert is_problem(web.ask("POST", f"/v1/classify?tag={tag}", jpeg(1)), 400, "bad_parameter")


def test_classic_clients_know_no_tag(web: Web) -> None:
    assert is_problem(web.ask("POST", "/upload?tag=a", jpeg(1)), 400, "parameter_unknown")
