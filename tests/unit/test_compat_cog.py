"""What Cog's clients may send, and the path that they share with TorchServe's."""

import base64
import json
from typing import Any

import pytest

from beholder.web.limits import WebLimits
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web import Ask, ask, memory_ports

TEXT = base64.b64encode(jpeg(1)).decode()
JSON = {"content_type": "application/json"}
# No worker runs, so an image that is accepted waits.
ACCEPTED = (202, "starting")


def post(document: Any, path: str = "/predictions", method: str = "POST", **headers: str) -> Answer:
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    (answer,) = ask(ports, Ask(method, path, body, JSON | headers))
    return answer


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json.get("code") or answer.json["status"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"input": {"image": TEXT}}, ACCEPTED),
        ({"input": {"image": f"data:image/jpeg;base64,{TEXT}"}}, ACCEPTED),
        ({"input": {"image": f"data:;base64,{TEXT}"}}, ACCEPTED),
        ({"input": {"image": TEXT, "top_k": 3, "min_confidence": 0.5, "model": "first"}}, ACCEPTED),
        ({"input": {"image": TEXT, "top_k": None}, "id": None}, ACCEPTED),
        ({"input": {"image": TEXT, "top_k": 3.0, "min_confidence": 1.0}}, ACCEPTED),
        ({"input": {"image": TEXT, "top_k": 3.5}}, (400, "bad_parameter")),
        ({"input": {"image": TEXT, "top_k": float("inf")}}, (400, "bad_parameter")),
        (b'{"input": {"image": "", "top_k": 1e999}}', (400, "image_missing")),
        ({"input": {"image": TEXT}, "id": 7}, ACCEPTED),
        ({"input": {"image": TEXT}, "id": ""}, (400, "idempotency_key_invalid")),
        ({"input": {"image": TEXT}, "id": "x" * 300}, (400, "idempotency_key_invalid")),
        ({"input": {"image": TEXT, "top_k": 0}}, (400, "bad_parameter")),
        ({"input": {"image": TEXT, "topk": 3}}, (400, "parameter_unknown")),
        ({"input": {"image": TEXT}, "webhook_events_filter": ["start"]}, ACCEPTED),
        ({"input": {"image": TEXT}, "webhook_events_filter": ["begun"]}, (400, "bad_parameter")),
        ({"input": {"image": TEXT}, "webhook_events_filter": 1}, (400, "bad_parameter")),
        ({"input": {"image": TEXT}, "webhook": None}, ACCEPTED),
        ({"input": {"image": TEXT}, "webhook": "https://example.org/"}, (400, "webhook_refused")),
        ({"input": {"image": TEXT}, "output_file_prefix": "x"}, (400, "parameter_unknown")),
        ({"input": {"image": "s3://bucket/key"}}, (400, "bucket_refused")),
        ({"input": {"image": "data:text/plain,hello"}}, (400, "bad_parameter")),
        ({"input": {}}, (400, "image_missing")),
        ({"input": [TEXT]}, (400, "bad_parameter")),
        ({}, (400, "bad_parameter")),
        ([], (400, "bad_parameter")),
        (b"", (400, "bad_parameter")),
    ],
    ids=lambda one: str(one)[:40],  # pytest puts ids into the environment
)
def test_the_input_holds_the_image(document: Any, expected: tuple[int, str]) -> None:
    assert said(post(document)) == expected


def test_an_event_stream_is_refused() -> None:
    assert said(post({"input": {"image": TEXT}}, accept="text/event-stream")) == (406, "stream_unsupported")


def test_a_put_is_cog_s_if_it_is_json_and_torchserve_s_otherwise() -> None:
    document = {"input": {"image": TEXT}}
    assert said(post(document, "/predictions/first", "PUT")) == ACCEPTED
    assert (
        said(post(document, "/predictions/first", "PUT", content_type="application/json; charset=utf-8"))
        == ACCEPTED
    )
    by_image = post(jpeg(1), "/predictions/first", "PUT", content_type="image/jpeg")
    assert (by_image.status, by_image.json["type"]) == (503, "ServiceUnavailableException")
    by_post = post(document, "/predictions/first")
    assert (by_post.status, by_post.json["type"]) == (415, "BadRequestException")


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [
        ("GET", "/predictions", "detail"),
        ("POST", "/predictions/x/cancel", "detail"),
        ("GET", "/predictions/x/cancel", "detail"),
        ("PUT", "/predictions/x/cancel", "type"),
        ("GET", "/predictions/x", "type"),
        ("PUT", "/health-check", "detail"),
    ],
)
def test_an_error_has_the_form_of_the_client_that_a_path_is_for(method: str, path: str, member: str) -> None:
    (answer,) = ask(memory_ports(), Ask(method, path, b"{}" if method == "PUT" else b""))
    assert answer.status in (404, 405)
    assert member in answer.json


def test_an_id_and_an_idempotency_key_do_not_meet() -> None:
    """Or a client of `/v1/classify` could read another's job by guessing its id, and the other way round."""
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    body = json.dumps({"id": "one", "input": {"image": TEXT}}).encode()
    first, second = ask(
        ports,
        Ask("POST", "/predictions", body, JSON),
        Ask("POST", "/v1/classify", jpeg(1), {"idempotency_key": "one"}),
    )
    assert (first.status, second.status) == (202, 202)
    assert first.headers["x-job-id"] != second.json["id"]


def test_a_deleted_job_is_not_found() -> None:
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    body = json.dumps({"id": "mine", "input": {"image": TEXT}}).encode()
    (accepted,) = ask(ports, Ask("POST", "/predictions", body, JSON))
    deleted, canceled = ask(
        ports,
        Ask("DELETE", f"/v1/jobs/{accepted.headers['x-job-id']}"),
        Ask("POST", "/predictions/mine/cancel"),
    )
    assert (deleted.status, canceled.status) == (204, 404)
