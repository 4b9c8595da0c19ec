"""What a client of the V2 inference protocol may send, and hostile bodies of its binary form."""

import base64
import json
from typing import Any

import pytest

from beholder.errors import BackendUnavailable
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web import Ask, Breaking, ask, memory_ports

IMAGE = jpeg(1)
TEXT = base64.b64encode(IMAGE).decode()
# No worker runs, so an image that is accepted is answered with this.
ACCEPTED = (503, "outcome_late")
INPUT = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
BINARY = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 1}}


def post(body: bytes, model: str = "first", **headers: str) -> tuple[int, str]:
    large = ServedModel("large", "1", "MIT", "", 2000, "as-is", None)
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    ports = memory_ports(limits=ports.limits, models=(*ports.models, large))
    (answer,) = ask(ports, Ask("POST", f"/v2/models/{model}/infer", body, headers))
    return said(answer)


def said(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]
    return answer.status, answer.json["code"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ACCEPTED),
        ({"id": "one", "parameters": {"binary_data_output": True}}, ACCEPTED),
        ({"inputs": [INPUT | {"shape": [1, 1], "data": [[TEXT]]}]}, ACCEPTED),
        ({"inputs": [INPUT | {"data": TEXT}]}, ACCEPTED),
        ({"outputs": [{"name": "x", "parameters": {"classification": 3, "binary_data": False}}]}, ACCEPTED),
        ({"outputs": [{"name": "x", "parameters": {"classification": 10**9}}]}, ACCEPTED),
        ({"outputs": []}, ACCEPTED),
        ({"outputs": [{"name": "x"}, {"name": "y"}]}, (400, "bad_parameter")),
        ({"outputs": [{"name": "x", "parameters": {"classification": -1}}]}, (400, "bad_parameter")),
        ({"outputs": [{"name": "x", "parameters": {"classification": True}}]}, (400, "bad_parameter")),
        ({"outputs": ["x"]}, (400, "bad_parameter")),
        ({"parameters": {"timeout": 5}}, (400, "parameter_unknown")),
        ({"model_name": "first"}, (400, "parameter_unknown")),
        ({"inputs": []}, (400, "bad_parameter")),
        ({"inputs": None}, (400, "bad_parameter")),
        ({"inputs": [INPUT, INPUT]}, (400, "bad_parameter")),
        ({"inputs": [INPUT | {"shape": [2]}]}, (400, "images_too_many")),
        ({"inputs": [INPUT | {"shape": []}]}, (400, "images_too_many")),
        ({"inputs": [INPUT | {"datatype": "UINT8"}]}, (400, "bad_parameter")),
        ({"inputs": [INPUT | {"data": [1]}]}, (400, "image_missing")),
        ({"inputs": [INPUT | {"data": [TEXT, TEXT]}]}, (400, "image_missing")),
        ({"inputs": [INPUT | {"parameters": {"shared_memory_region": "r"}}]}, (400, "parameter_unknown")),
    ],
    ids=lambda one: str(one)[:40],  # pytest puts ids into the environment
)
def test_json_holds_one_image(change: dict[str, Any], expected: tuple[int, str]) -> None:
    assert post(json.dumps({"inputs": [INPUT]} | change).encode()) == expected


@pytest.mark.parametrize(
    ("binary", "expected"),
    [
        (len(IMAGE).to_bytes(4, "little") + IMAGE, ACCEPTED),
        (b"", (400, "bad_parameter")),
        (b"\x01\0\0", (400, "bad_parameter")),
        (b"\xff\xff\xff\xff" + IMAGE, (400, "bad_parameter")),
        ((len(IMAGE) - 1).to_bytes(4, "little") + IMAGE, (400, "bad_parameter")),
        (bytes(4), (400, "image_missing")),
    ],
    ids=lambda one: str(len(one)),
)
def test_the_binary_form_holds_one_element(binary: bytes, expected: tuple[int, str]) -> None:
    head = json.dumps({"inputs": [BINARY]}).encode()
    assert post(head + binary, inference_header_content_length=str(len(head))) == expected


@pytest.mark.parametrize("length", ["-1", "1", "99999", "9" * 5000, "x", "\u00b2"])
def test_a_wrong_length_of_the_json_is_refused(length: str) -> None:
    head = json.dumps({"inputs": [BINARY]}).encode()
    assert post(head, inference_header_content_length=length) == (400, "bad_parameter")


def test_all_probabilities_of_more_classes_than_labels_are_refused() -> None:
    document = {"inputs": [INPUT]}
    assert post(json.dumps(document).encode(), "large") == (400, "bad_parameter")
    best = document | {"outputs": [{"name": "x", "parameters": {"classification": 5}}]}
    assert post(json.dumps(best).encode(), "large") == ACCEPTED


def test_a_service_that_is_not_ready_says_so() -> None:
    paths = ("/v2/health/ready", "/v2/models/first/ready", "/ping")
    ports = memory_ports(images=Breaking(BackendUnavailable("store", "get")))
    answers = ask(ports, *(Ask("GET", path) for path in paths), Ask("GET", "/v2/health/live"))
    assert [one.status for one in answers] == [503, 503, 503, 200]
