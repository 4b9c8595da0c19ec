"""`/v1/embed`: the way of every image, with an embedding as its result."""

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beholder.job import Message, Options
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.rig import Rig
from helpers.web_process import ASYNC, LIMITS, Web, is_problem

IMAGE = jpeg(1)
BYTES = {"accept": "application/octet-stream"}
# What the rig's classifier gives for its first label, which a photo shows, and for its last.
FIRST = [0.6, 0.0, 0.8]


class EmbeddingWeb(Web):
    def ports(self, limits: WebLimits = LIMITS) -> WebPorts:
        models = tuple(
            ServedModel(name, "1", "MIT", "", 4, "as-is", None, embedding_size=size)
            for name, size in (("first", 3), ("second", None))
        )
        return replace(super().ports(limits), models=models)


def embedded(folder: Path, target: str, body: bytes, **headers: str) -> Answer:
    folder.mkdir(exist_ok=True)
    with EmbeddingWeb(folder) as web:
        coming = web.begin("POST", target, body, **headers)
        web.work()
        answer: Answer = coming.result(60)
        return answer


def test_the_job_has_the_embedding_and_no_labels(tmp_path: Path) -> None:
    with EmbeddingWeb(tmp_path) as web:
        coming = web.begin("POST", "/v1/embed?file_name=a.jpg&tag=order-1", IMAGE)
        web.work()
        job = coming.result(60).json
        again = web.ask("GET", f"/v1/jobs/{job['id']}").json
        models = web.ask("GET", "/v1/models").json["models"]
    assert job["result"] == {
        "labels": [],
        "embedding": {"size": 3, "is_normalised": True, "values": pytest.approx(FIRST)},
    }
    assert (job["status"], job["model"], job["input"]["options"]["embed"]) == ("succeeded", "first", True)
    assert (again, job["input"]["tag"]) == (job, "order-1")
    assert [one["embedding_size"] for one in models] == [3, None]


def test_accept_asks_for_the_bytes(tmp_path: Path) -> None:
    answer = embedded(tmp_path, "/v1/embed", IMAGE, **BYTES, prefer="wait=10")

    assert struct.unpack("<3f", answer.body) == pytest.approx(FIRST)
    assert (answer.headers["x-embedding-size"], answer.headers["x-embedding-normalised"]) == ("3", "true")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.headers["x-job-id"]


def test_json_and_forms_hold_images_as_they_do_for_labels(tmp_path: Path) -> None:
    document = json.dumps({"image": base64.b64encode(IMAGE).decode(), "model": "first"}).encode()
    one = embedded(tmp_path / "a", "/v1/embed", document, content_type="application/json")
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n%s\r\n' % IMAGE
    form = {"content_type": "multipart/form-data; boundary=b"}
    with EmbeddingWeb(tmp_path) as web:
        # Several are a list, whatever Accept says.
        several = web.ask("POST", "/v1/embed", part + part + b"--b--\r\n", **form, **BYTES, **ASYNC)
        while not web.is_idle():
            web.work()
        two = [web.ask("GET", job["urls"]["get"]).json for job in several.json["items"]]

    assert one.json["result"]["embedding"]["values"] == pytest.approx(FIRST)
    assert [job["result"]["embedding"]["size"] for job in two] == [3, 3]


def test_without_waiting_the_job_is_fetched_later(tmp_path: Path) -> None:
    with EmbeddingWeb(tmp_path) as web:
        accepted = web.ask("POST", "/v1/embed", IMAGE, **ASYNC, **BYTES)
        before = web.ask("GET", accepted.headers["location"]).json
        web.work()
        after = web.ask("GET", accepted.headers["location"]).json
        # The image is what is left of it where its message is lost; the job's retry asks for the same.
        key = before["input"]["image_key"]
        assert json.loads(web.images.head(key).metadata["order"])["options"]["embed"] is True
    assert (accepted.status, before["status"], before["input"]["options"]["embed"]) == (202, "queued", True)
    assert after["result"]["embedding"]["values"] == pytest.approx(FIRST)


def test_a_model_without_an_embedding_and_options_of_labels_are_refused(tmp_path: Path) -> None:
    with EmbeddingWeb(tmp_path) as web:
        refused = web.ask("POST", "/v1/embed?model=second", IMAGE)
        assert is_problem(refused, 422, "embedding_unsupported")
        assert "second@1 gives no embedding" in refused.json["detail"]
        for name in ("top_k=2", "min_confidence=0.5", "include=cat", "embed=true"):
            assert is_problem(web.ask("POST", f"/v1/embed?{name}", IMAGE), 400, "parameter_unknown")
        assert is_problem(web.ask("POST", "/v1/classify?embed=true", IMAGE), 400, "parameter_unknown")
        assert web.is_idle()


def test_a_key_of_an_embedding_is_not_that_of_labels(tmp_path: Path) -> None:
    key: Any = {"idempotency_key": "one"}
    with EmbeddingWeb(tmp_path) as web:
        for target in ("/v1/embed", "/v1/embed"):
            web.ask("POST", target, IMAGE, **key, **ASYNC)
        assert is_problem(
            web.ask("POST", "/v1/classify", IMAGE, **key, **ASYNC), 422, "idempotency_key_reused"
        )
        assert web.queue.depth().backlog == 1


def test_a_batch_of_both_kinds_is_one_run_for_each(tmp_path: Path) -> None:
    # given jobs for labels and for embeddings of two models, received together
    web = Rig(tmp_path)
    asked = [
        (b"cat", False, "first"),
        (b"owl", True, "first"),
        (b"cat", False, "second"),
        (b"hen", True, "first"),
    ]
    options = [Options(model=model, embed=embed) for _, embed, model in asked]
    worker = web.begun("worker-0")
    sent = [web.send(data, options=one) for (data, _, _), one in zip(asked, options, strict=True)]
    # when
    worker.tick()
    # then
    assert [web.classifiers[f"{name}@1"].batches for name in ("first", "second")] == [[1, 2], [1]]
    first, last, other, third = (web.result(message)["result"] for message in sent)
    assert [one["labels"][0]["name"] for one in (first, other)] == ["cat", "cat"]
    assert last["embedding"]["values"] == pytest.approx([1 / 3, 2 / 3, -2 / 3], abs=1e-6)
    assert third["embedding"] == {"size": 3, "is_normalised": False, "values": [0.0, 0.0, 0.0]}
    assert (first["embedding"], last["labels"]) == (None, [])
    assert web.is_idle()


def test_a_message_says_what_is_asked_for(tmp_path: Path) -> None:
    web = Rig(tmp_path)
    plain, asks = (web.send(b"cat", options=Options(embed=embed)) for embed in (False, True))

    assert Message.from_bytes(asks.to_bytes()) == asks
    # As versions read and write it that do not know embeddings.
    assert b"embed" not in plain.to_bytes()
    assert Message.from_bytes(plain.to_bytes()).input.options.embed is False
