"""The int8 form of a model."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from PIL import Image

from beholder.cli.main import beholder
from beholder.model.folder import read_model
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.verification import read_report
from tiny_models import BLUE, DARK, GREEN, LABELS, RED, expected_probabilities, graph_file, head, write_folder

pytestmark = pytest.mark.pure

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled"
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE, "dark": DARK}


def quantized(folder: Path, *arguments: object) -> Result:
    texts = [*map(str, arguments), "--data-dir", str(folder / "data"), "--precision", "fp32"]
    return CliRunner().invoke(beholder, ["models", "quantize", *texts])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in COLOURS.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no photo", encoding="utf-8")
    return folder


def convolution() -> bytes:
    """Return the tiny graph behind a convolution that changes nothing."""
    kernel = np.eye(3, dtype=np.float32)[:, :, None, None]
    return head("x", [helper.make_node("Conv", ["image", "kernel"], ["x"])], kernel=kernel)


def test_the_int8_form_answers_as_the_model_does(tmp_path: Path, photos: Path) -> None:
    # given
    models = tmp_path / "data" / "models"
    write_folder(models / "tiny", graph=convolution())
    expected = tmp_path / "labels.csv"
    rows = [f"{name}.png,{LABELS.index(name)},{name}" for name in COLOURS]
    expected.write_text("\n".join(["file,index,name", *rows]), encoding="utf-8")
    # when
    done = quantized(tmp_path, "tiny", "--calibration", photos, "--expect", expected)
    # then
    assert done.exit_code == 0, done.output
    spec = read_model(models / "tiny-int8")
    found = OpenVinoClassifier(spec, precision="fp32").classify(list(COLOURS.values()))
    np.testing.assert_allclose(found, expected_probabilities(list(COLOURS.values())), atol=0.05)
    assert b"QuantizeLinear" in spec.onnx_path.read_bytes()
    assert (spec.labels, spec.source) == (LABELS, "int8 of tiny@1, a test")
    words = [line.split()[0] for line in done.output.splitlines()]
    assert words == [
        "before",
        "photos",
        "notes.txt:",
        "measured",
        "agreement",
        "photos",
        "notes.txt:",
        "tiny-int8:",
    ]
    assert "4 of 4 labels as tiny@1" in done.output
    report: Any = read_report(models / "tiny-int8")
    assert (report["agreement"]["same_label"], report["photos"]["right_first"]) == (4, 4)
    assert sorted(path.name for path in models.iterdir()) == ["tiny", "tiny-int8"]
    assert len(list((models / "tiny-int8").iterdir())) == 4


@pytest.mark.parametrize("output", ["sigmoid", "sigmoid-logits"])
def test_the_int8_form_of_several_labels_has_their_thresholds(
    tmp_path: Path, photos: Path, output: str
) -> None:
    # given
    models = tmp_path / "data" / "models"
    graph = onnx.load_from_string(convolution())
    if output == "sigmoid":
        graph.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["tags"]))
        graph.graph.output[0].name = "tags"
    # The embedding of one of them is an output of its graph, and of the other a tensor inside.
    if output == "sigmoid":
        graph.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 3]))
    folder = write_folder(models / "tiny", graph=graph.SerializeToString(), output=output)
    text = (folder / "model.toml").read_text(encoding="utf-8")
    (folder / "model.toml").write_text(
        f'threshold = [0.5, 0.6, 0.7, 0.8]\nembedding = "flat"\nembedding_size = 3\n{text}', encoding="utf-8"
    )
    # when
    done = quantized(tmp_path, "tiny", "--calibration", photos, "--json")
    # then
    assert done.exit_code == 0, done.output
    folder_int8 = str(models / "tiny-int8")
    assert json.loads(done.stdout) == {
        "name": "tiny-int8",
        "version": "1",
        "classes": 4,
        "folder": folder_int8,
    }
    before, after = read_model(folder), read_model(models / "tiny-int8")
    assert after.thresholds == before.thresholds == (0.5, 0.6, 0.7, 0.8)
    rows = [OpenVinoClassifier(spec).classify(list(COLOURS.values())) for spec in (before, after)]
    np.testing.assert_allclose(*rows, atol=0.05)
    assert rows[0].sum(axis=1).max() > 1.1
    assert (before.embedding, after.embedding) == ("flat", "flat" if output == "sigmoid" else "")
    if after.embedding:
        vectors = [OpenVinoClassifier(spec).embed(list(COLOURS.values())[:3]) for spec in (before, after)]
        np.testing.assert_allclose(*vectors, atol=0.05)


def test_what_cannot_be_quantised_is_refused(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    raw = graph_file(
        nodes, inputs={"image": ["n", 3, 8, 8]}, outputs={"logits": ["n", 3]}, takes=TensorProto.UINT8
    )
    table = '[preprocessing]\nkind = "centre-crop"\nsize = 8\nmean = 0\nscale = 1'
    models = tmp_path / "data" / "models"
    write_folder(models / "raw", name="raw", graph=raw, labels=LABELS[:3], preprocessing=table)
    write_folder(models / "tiny", graph=convolution())
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no photo", encoding="utf-8")

    def refusal(*arguments: object) -> str:
        return str(quantized(tmp_path, *arguments).exception)

    assert "the graph takes uint8; only float32" in refusal("raw", "--calibration", photos)
    assert "no photo that can be decoded" in refusal("tiny", "--calibration", empty)
    assert "the name of the built-in model" in refusal(
        "tiny", "--calibration", photos, "--as", "efficientnet-lite0"
    )
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime.quantization", None)
    assert "pip install onnxruntime onnx" in refusal("tiny", "--calibration", photos)
    assert sorted(path.name for path in models.iterdir()) == ["raw", "tiny"]


@pytest.mark.slow
def test_the_built_in_model_in_int8_names_what_the_photos_show(tmp_path: Path) -> None:
    if not LABELLED.is_dir():
        pytest.skip("needs the labelled photos, which may not be redistributed")
    # given every fifth photo
    photos = tmp_path / "photos"
    photos.mkdir()
    with (LABELLED / "labels.csv").open(newline="", encoding="utf-8") as lines:
        for row in list(csv.DictReader(lines))[::5]:
            (photos / row["file"]).symlink_to(LABELLED / row["file"])
    options = ["--calibration", photos, "--expect", LABELLED / "labels.csv"]

    done = quantized(tmp_path, "efficientnet-lite0", *options)

    assert done.exit_code == 0, done.output
    report: Any = read_report(tmp_path / "data" / "models" / "efficientnet-lite0-int8")
    assert report["agreement"]["images"] == 20
    assert report["agreement"]["same_label"] >= 17
    assert report["photos"]["right_first"] >= 15
    assert report["graph_bytes"] < 6_000_000
