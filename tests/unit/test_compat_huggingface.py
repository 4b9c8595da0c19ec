"""What Hugging Face's client may send, and what else is sent to its path."""

import base64
import json
from typing import Any

import pytest

from beholder.web.limits import WebLimits
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web import Ask, ask, memory_ports

IMAGE = jpeg(1)
TEXT = base64.b64encode(IMAGE).decode()
JSON = {"content_type": "application/json; charset=utf-8"}
# No worker runs, so an image that is accepted is answered with this.
ACCEPTED = (503, "outcome_late")


def post(body: bytes, path: str = "/hf", headers: dict[str, str] = JSON) -> Answer:
    (answer,) = ask(memory_ports(limits=WebLimits(wait_s_default=0.01)), Ask("POST", path, body, headers))
    return answer


def said(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]
    return answer.status, answer.json["error_type"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"inputs": TEXT}, ACCEPTED),
        ({"inputs": f"data:image/jpeg;base64,{TEXT}"}, ACCEPTED),
        ({"inputs": base64.urlsafe_b64encode(IMAGE).decode().rstrip("=")}, ACCEPTED),
        ({"inputs": base64.encodebytes(IMAGE).decode()}, ACCEPTED),
        ({"inputs": TEXT, "parameters": {"top_k": 2, "function_to_apply": None}}, ACCEPTED),
        ({"inputs": TEXT, "parameters": None, "options": {"wait_for_model": True}}, ACCEPTED),
        ({"inputs": "https://example.org/cat.jpg"}, (415, "image_by_url")),
        ({"inputs": "cat.jpg"}, (400, "bad_parameter")),
        ({"inputs": "b0"}, (415, "image_type_unsupported")),
        ({"inputs": ""}, (400, "image_missing")),
        ({"inputs": [TEXT]}, (400, "image_missing")),
        ({}, (400, "image_missing")),
        ({"inputs": TEXT, "image": TEXT}, (400, "parameter_unknown")),
        ({"inputs": TEXT, "parameters": [3]}, (400, "bad_parameter")),
        ({"inputs": TEXT, "parameters": {"topk": 3}}, (400, "parameter_unknown")),
        ({"inputs": TEXT, "parameters": {"top_k": 1.5}}, (400, "bad_parameter")),
        ({"inputs": TEXT, "parameters": {"top_k": True}}, (400, "bad_parameter")),
        ({"inputs": TEXT, "parameters": {"function_to_apply": "none"}}, (400, "bad_parameter")),
    ],
    ids=lambda one: str(one)[:40],  # pytest puts ids into the environment
)
def test_json_holds_the_image_in_base64(document: dict[str, Any], expected: tuple[int, str]) -> None:
    assert said(post(json.dumps(document).encode())) == expected


@pytest.mark.parametrize("body", [b"{", b"{}x", b'{"inputs": \xff}', b"{" + b'"a":{' * 100_000])
def test_json_that_cannot_be_read_is_refused(body: bytes) -> None:
    assert said(post(body)) == (400, "bad_parameter")


def test_an_image_may_be_the_body_whatever_its_type_says() -> None:
    assert said(post(IMAGE)) == ACCEPTED
    assert said(post(IMAGE, headers={})) == ACCEPTED
    assert said(post(b"[]")) == (415, "image_type_unsupported")


def test_the_bounds_of_a_body_and_of_an_image_hold_for_text_too() -> None:
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01, multipart_overhead_bytes_max=200))
    at_bound = ports.limits.image.image_bytes_max
    fits = json.dumps({"inputs": base64.b64encode(IMAGE + bytes(at_bound - len(IMAGE))).decode()}).encode()
    beyond = json.dumps({"inputs": base64.b64encode(bytes(at_bound + 1)).decode()}).encode()
    answers = ask(
        ports,
        Ask("POST", "/hf", fits, JSON),
        Ask("POST", "/hf", beyond, JSON),
        Ask("POST", "/hf", beyond + b" " * 300, JSON),
    )
    assert [said(one) for one in answers] == [ACCEPTED, (413, "image_too_large"), (413, "image_too_large")]


def test_what_no_route_answers_has_the_client_s_form_too() -> None:
    assert said(post(IMAGE, "/hf/first/again")) == (404, "path_not_found")
    assert said(post(IMAGE, "/hf/other")) == (404, "model_not_found")
    assert said(post(IMAGE, "/hf/first?top_k=2")) == ACCEPTED
    assert said(post(IMAGE, "/hf?model=first")) == (400, "parameter_unknown")
    (refused,) = ask(memory_ports(), Ask("GET", "/hf"))
    assert said(refused) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
