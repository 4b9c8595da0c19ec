"""Models whose classes do not exclude each other: a sigmoid and a threshold for each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import helper
from PIL import Image

from beholder.cli.main import beholder
from beholder.errors import InferenceFailed, ModelInvalid
from beholder.model.folder import read_model
from beholder.model.importing import import_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import Classifier, ModelSpec, Preprocessing, PreprocessingKind
from beholder.model.sources.source import Description
from beholder.model.top import top_labels
from helpers.sources import hub_folder, labelled, vit_config
from tiny_models import BIAS, LABELS, WEIGHTS, graph_file, write_folder

pytestmark = pytest.mark.pure

GREY, WHITE, YELLOW, BLACK = (
    np.full((8, 8, 3), colour, np.uint8) for colour in ((110,) * 3, (255,) * 3, (255, 255, 0), (0, 0, 0))
)
STRETCH = Preprocessing(kind=PreprocessingKind.STRETCH, crop_fraction=1.0)
# Each colour by itself; the last label is that of dark images.
OWN = np.array([[8, 0, 0], [0, 8, 0], [0, 0, 8], [-8, -8, -8]], np.float32)
FROM = np.array([-4, -4, -4, 2], np.float32)


def tags_graph(
    *after: str, weights: Any = OWN, bias: Any = FROM, classes: int = 4, side: int | str = 8
) -> bytes:
    """Return a graph of logits, or of what the operators `after` make of them."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
    ]
    end = "logits"
    for operator in after:
        nodes.append(helper.make_node(operator, [end], [operator]))
        end = operator
    return graph_file(
        nodes,
        inputs={"image": ["n", 3, side, side]},
        outputs={end: ["n", classes]},
        weights={"weights": weights[:classes], "bias": bias[:classes]},
    )


def imported(folder: Path, graph: bytes, labels: tuple[str, ...] = LABELS, **said: Any) -> ModelSpec:
    file, names = folder / "tags.onnx", folder / "names.txt"
    file.write_bytes(graph)
    names.write_text("\n".join(labels), encoding="utf-8")
    said = {"preprocessing": STRETCH, "thresholds": (0.5,), **said}
    description = Description("tags", labels=names, **said)
    return import_model(
        file, folder / "models" / "tags", description, load=OpenVinoClassifier, tell=lambda _: None
    )


def expected(*images: np.ndarray) -> np.ndarray:
    colours = np.array([image.reshape(-1, 3).mean(axis=0) / 255 for image in images])
    values: np.ndarray = 1 / (1 + np.exp(-(colours @ OWN.T + FROM)))
    return values


@pytest.mark.parametrize("runtime", [OpenVinoClassifier, OnnxRuntimeClassifier])
@pytest.mark.parametrize("after", [(), ("Sigmoid",), ("Sigmoid", "Identity")])
def test_each_label_has_a_probability_of_its_own(
    tmp_path: Path, runtime: Callable[[ModelSpec], Classifier], after: tuple[str, ...]
) -> None:
    # when
    spec = imported(tmp_path, tags_graph(*after))
    rows = runtime(spec).classify([YELLOW, WHITE, GREY, BLACK])
    # then
    assert (spec.outputs_probabilities, spec.thresholds) == (bool(after), (0.5,) * 4)
    assert read_model(spec.onnx_path.parent) == spec
    np.testing.assert_allclose(rows, expected(YELLOW, WHITE, GREY, BLACK), atol=0.02)
    found = [
        [one.name for one in top_labels(row, LABELS, top_k=5, min_confidence=0, thresholds=spec.thresholds)]
        for row in rows
    ]
    assert found == [["red", "green"], ["red", "green", "blue"], [], ["dark"]]


def test_a_label_counts_from_its_threshold_unless_the_request_has_one() -> None:
    row = np.array([0.3, 0.8, 0.7, 0.05], np.float32)

    def found(**more: Any) -> list[int]:
        options = {"top_k": 4, "min_confidence": 0.0, "thresholds": (0.2, 0.9, 0.7, 0.5), **more}
        return [one.index for one in top_labels(row, LABELS, **options)]

    assert found() == [2, 0]
    assert found(top_k=1) == [2]
    assert found(min_confidence=0.75) == [1]
    assert found(min_confidence=1e-9) == [1, 2, 0, 3]
    assert found(exclude=(2,)) == [0]
    assert found(include=(0, 1)) == [0]
    assert found(include=(1,)) == []
    assert found(thresholds=(0.9,) * 4) == []


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "a sigmoid without thresholds": (tags_graph("Sigmoid"), {"thresholds": ()}, "give --threshold"),
    "one value without thresholds": (
        tags_graph("Sigmoid", classes=1),
        {"thresholds": (), "labels": ("yes",)},
        "or give --threshold",
    ),
    "a regression": (tags_graph(classes=1), {"labels": ("age",)}, "a regression is not served"),
    "a softmax": (tags_graph("Softmax"), {}, "its classes exclude each other; leave out --threshold"),
    "logits that are a sigmoid": (
        tags_graph("Sigmoid"),
        {"outputs_probabilities": False},
        "ends in a sigmoid and does not give logits",
    ),
    "probabilities that are logits": (
        tags_graph(),
        {"outputs_probabilities": True},
        "are from -.* so they are no probabilities",
    ),
    "values that may be either": (
        tags_graph(weights=OWN / 80, bias=np.full(4, 0.4, np.float32)),
        {},
        "say what they are by --probabilities or --logits",
    ),
    "too few thresholds": (tags_graph(), {"thresholds": (0.5, 0.4)}, "2 numbers for 4 classes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_of_several_labels_is_refused(tmp_path: Path, name: str) -> None:
    graph, said, words = REFUSED[name]

    with pytest.raises(ModelInvalid, match=words):
        imported(tmp_path, graph, **said)

    assert not list((tmp_path / "models").iterdir())


def test_one_value_for_an_image_is_a_label_that_it_shows_or_not(tmp_path: Path) -> None:
    spec = imported(tmp_path, tags_graph("Sigmoid", classes=1), ("red",))

    rows = OpenVinoClassifier(spec).classify([YELLOW, BLACK])

    np.testing.assert_allclose(rows, expected(YELLOW, BLACK)[:, :1], atol=0.02)


@pytest.mark.parametrize("kind", ["multi_label_classification", None])
def test_a_folder_of_hugging_face_says_what_it_is(tmp_path: Path, kind: str | None) -> None:
    folder = hub_folder(tmp_path / "vit", config=vit_config(problem_type=kind))
    (folder / "onnx" / "model.onnx").write_bytes(labelled(tags_graph(side="any")))
    told: list[str] = []

    spec = import_model(
        folder, tmp_path / "models" / "it", Description("it"), load=OpenVinoClassifier, tell=told.append
    )

    assert spec.thresholds == ((0.5,) * 4 if kind else ())
    assert any("logits of several labels, each from 0.5 on" in line for line in told) is bool(kind)


@pytest.mark.parametrize(
    ("output", "threshold", "words"),
    [
        ("sigmoid", "1.5", "numbers from 0 to 1"),
        ("sigmoid", '"half"', "numbers from 0 to 1"),
        ("sigmoid", "[0.5, 0.5]", "2 numbers for 4 classes"),
        ("sigmoid", "true", "numbers from 0 to 1"),
        ("logits", "0.5", "threshold is for the outputs sigmoid and sigmoid-logits"),
        ("both", "0.5", "'both' is not known; write one of 'logits', 'probabilities', 'sigmoid-logits'"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    tmp_path: Path, output: str, threshold: str, words: str
) -> None:
    folder = write_folder(tmp_path, graph=tags_graph(), output=output)
    path = folder / "model.toml"
    path.write_text(f"threshold = {threshold}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")

    with pytest.raises(ModelInvalid, match=words):
        read_model(folder)


def test_a_graph_that_contradicts_its_folder_is_refused(tmp_path: Path) -> None:
    """The shares of values beyond 1 are found by the image that has them."""
    wrong = write_folder(tmp_path / "a", graph=tags_graph("Sigmoid"), output="sigmoid-logits")
    with pytest.raises(ModelInvalid, match='ends in a sigmoid; write output = "sigmoid"'):
        OpenVinoClassifier(read_model(wrong)).warm_up()
    logits = write_folder(
        tmp_path / "b", graph=tags_graph(weights=WEIGHTS, bias=BIAS * 0 + 0.4), output="sigmoid"
    )
    classifier = OnnxRuntimeClassifier(read_model(logits))
    with pytest.raises((ModelInvalid, InferenceFailed), match=r'no probabilities.*output = "sigmoid"'):
        classifier.classify([WHITE])


# --- commands -----------------------------------------------------------------------------------------------


def run(folder: Path, *arguments: object) -> Result:
    texts = ["models", *map(str, arguments), "--data-dir", str(folder / "data")]
    return CliRunner().invoke(beholder, texts)


def test_the_commands_of_models_know_several_labels(tmp_path: Path) -> None:
    # given photos of which every fourth shows another label than the model sees, and a model that is too sure
    photos, rows = tmp_path / "photos", ["file,index,name"]
    photos.mkdir()
    for number, image in enumerate([YELLOW, WHITE, GREY, BLACK] * 10):
        Image.fromarray(image).save(photos / f"{number:02}.png")
        shown = ([0, 1], [0, 1, 2], [], [3])[(number + (number % 16 > 11)) % 4]
        rows += [f"{number:02}.png,{index},{LABELS[index]}" for index in shown] or [f"{number:02}.png,,"]
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "names.txt").write_text("\n".join(LABELS), encoding="utf-8")
    (tmp_path / "tags.onnx").write_bytes(tags_graph("Sigmoid"))
    # when
    said = [
        "--labels",
        tmp_path / "names.txt",
        "--preprocessing",
        "stretch",
        "--threshold",
        "0.5,0.5,0.5,0.9",
    ]
    done = run(tmp_path, "import", tmp_path / "tags.onnx", "--name", "tags", *said)
    assert done.exit_code == 0, done.output
    shown = json.loads(run(tmp_path, "show", "tags").output)
    tested = run(tmp_path, "test", "tags", photos / "00.png", photos / "02.png", photos / "03.png")
    expects = ["--expect", tmp_path / "labels.csv"]
    calibrated = run(tmp_path, "calibrate", "tags", photos, *expects)
    archive = tmp_path / "tags.zip"
    run(tmp_path, "export", "tags", archive)
    run(tmp_path, "remove", "tags")
    back = run(tmp_path, "import", archive)
    # then
    assert "probabilities of several labels, each from 0.5 to 0.9 on" in done.output
    assert (shown["is_multi_label"], shown["thresholds"]) == (True, [0.5, 0.5, 0.5, 0.9])
    assert "00.png: red 98" in tested.output
    assert "02.png: no label" in tested.output
    assert "03.png: no label" in tested.output  # 88 %
    assert calibrated.exit_code == 0, calibrated.output
    assert "by 40 photos" in calibrated.output
    assert back.exit_code == 0, back.output
    spec = read_model(tmp_path / "data" / "models" / "tags")
    assert (spec.thresholds, spec.temperature > 1.2) == ((0.5, 0.5, 0.5, 0.9), True)
    tempered = OpenVinoClassifier(spec, precision="fp32").classify([YELLOW, GREY])
    plain = expected(YELLOW, GREY)
    odds = (plain / (1 - plain)) ** (1 / spec.temperature)
    np.testing.assert_allclose(tempered, odds / (1 + odds), atol=1e-3)


def test_several_classes_of_a_photo_are_refused_where_classes_exclude_each_other(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "it")
    (tmp_path / "photos").mkdir()
    Image.fromarray(YELLOW).save(tmp_path / "photos" / "a.png")
    (tmp_path / "labels.csv").write_text("file,index,name\na.png,0,red\na.png,1,green\n", encoding="utf-8")

    done = run(tmp_path, "calibrate", folder, tmp_path / "photos", "--expect", tmp_path / "labels.csv")

    assert "a.png has 2 classes, and the model's exclude each other" in str(done.exception)


@pytest.mark.parametrize("text", ["2", "half", "0.5,", "-0.1", "nan"])
def test_a_threshold_that_is_no_probability_is_refused(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, "import", tmp_path / "tags.onnx", "--name", "tags", "--threshold", text)

    assert "give a number from 0 to 1, or one for each class" in str(done.exception)
