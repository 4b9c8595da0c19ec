"""A multi-label model behind each form of the HTTP interface: its labels over their thresholds, or none."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.rig import LABELS
from helpers.web_process import LIMITS, Web

IMAGE = jpeg(1)
TEXT = base64.b64encode(IMAGE).decode()
AMAZON = {"x-amz-target": "RekognitionService.DetectLabels"}
# The rig's classifier gives every image 0.7 for the first label, and 0.1 for each other.
TWO, NONE = (0.5, 0.05, 0.5, 0.5), (0.8,) * 4
FIRST, SECOND, THIRD, FOURTH = LABELS


class TagsWeb(Web):
    def ports(self, limits: WebLimits = LIMITS) -> WebPorts:
        served = ServedModel("first", "1", "MIT", "", 4, "as-is", None, is_multi_label=True)
        return replace(super().ports(limits), models=(served,))


def answers(folder: Path, thresholds: tuple[float, ...], *asked: tuple[str, bytes, dict[str, str]]) -> Any:
    """Return the answer to each POST, which a worker's model gives."""
    found: list[Answer] = []
    with TagsWeb(folder) as web:
        classifier = web.classifiers["first@1"]
        classifier.spec = replace(classifier.spec, thresholds=thresholds)
        for target, body, headers in asked:
            coming = web.begin("POST", target, body, **headers)
            web.work()
            found.append(coming.result(60))
    return found


def kserve(**output: Any) -> bytes:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
    outputs = {"outputs": [{"name": "x", "parameters": output}]} if output else {}
    return json.dumps({"inputs": [tensor], **outputs}).encode()


def hugging_face(function: str) -> bytes:
    return json.dumps({"inputs": TEXT, "parameters": {"function_to_apply": function}}).encode()


JSON = {"content_type": "application/json"}


def test_the_labels_over_their_thresholds_are_answered_in_every_form(tmp_path: Path) -> None:
    amazon = json.dumps({"Image": {"Bytes": TEXT}}).encode()
    sure = json.dumps({"Image": {"Bytes": TEXT}, "MinConfidence": 60}).encode()
    job, one, hf, torch_serve, cog, detect, detect_sure = answers(
        tmp_path,
        TWO,
        ("/v1/classify", IMAGE, {}),
        ("/v1/classify?min_confidence=0.6", IMAGE, {}),
        ("/hf", hugging_face("sigmoid"), JSON),
        ("/predictions/first", IMAGE, {}),
        ("/predictions", json.dumps({"input": {"image": f"data:image/jpeg;base64,{TEXT}"}}).encode(), JSON),
        ("/", amazon, {**AMAZON, "content_type": "application/x-amz-json-1.1"}),
        ("/", sure, {**AMAZON, "content_type": "application/x-amz-json-1.1"}),
    )
    assert [label["name"] for label in job.json["result"]["labels"]] == [FIRST, SECOND]
    assert [label["name"] for label in one.json["result"]["labels"]] == [FIRST]
    assert [label["label"] for label in hf.json] == [FIRST, SECOND]
    assert torch_serve.json == {FIRST: 0.7, SECOND: 0.1}
    assert [label["name"] for label in cog.json["output"]] == [FIRST, SECOND]
    # Without MinConfidence the model's thresholds count, and not Amazon's 55 per cent.
    assert [label["Name"] for label in detect.json["Labels"]] == [FIRST, SECOND]
    assert [label["Name"] for label in detect_sure.json["Labels"]] == [FIRST]


def test_no_label_is_an_answer_in_every_form(tmp_path: Path) -> None:
    amazon = json.dumps({"Image": {"Bytes": TEXT}}).encode()
    job, text, hf, torch_serve, detect = answers(
        tmp_path,
        NONE,
        ("/v1/classify", IMAGE, {}),
        ("/upload", IMAGE, {}),
        ("/hf/first", IMAGE, {}),
        ("/predictions/first", IMAGE, {}),
        ("/", amazon, {**AMAZON, "content_type": "application/x-amz-json-1.1"}),
    )
    assert {one.status for one in (job, text, hf, torch_serve, detect)} == {200}
    assert (job.json["status"], job.json["result"]) == ("succeeded", {"labels": [], "embedding": None})
    # The classic client is told by the job, as where min_confidence leaves no label.
    assert text.headers["content-type"] == "application/json"
    assert text.json["result"]["labels"] == []
    assert (hf.json, torch_serve.json, detect.json["Labels"]) == ([], {}, [])


def test_a_tensor_has_every_class_whatever_the_thresholds(tmp_path: Path) -> None:
    tensor, best = answers(
        tmp_path,
        NONE,
        ("/v2/models/first/infer", kserve(), {}),
        ("/v2/models/first/infer", kserve(classification=2), {}),
    )
    assert tensor.json["outputs"][0]["data"] == pytest.approx([0.7, 0.1, 0.1, 0.1])
    assert best.json["outputs"][0]["data"] == [f"0.700000:0:{FIRST}", f"0.100000:1:{SECOND}"]


def test_a_client_may_only_name_the_function_that_the_model_has(tmp_path: Path) -> None:
    with TagsWeb(tmp_path) as web:
        refused = web.ask("POST", "/hf", hugging_face("softmax"), **JSON)
        models = web.ask("GET", "/v1/models").json["models"]
    assert (refused.status, refused.json["error_type"]) == (400, "bad_parameter")
    assert "the model's is sigmoid" in refused.json["error"]
    assert [one["is_multi_label"] for one in models] == [True]
