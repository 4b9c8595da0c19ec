"""The embedding of an image: a tensor of the graph, found by its name, of length 1."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from beholder.errors import ConfigError, InferenceFailed, ModelInvalid
from beholder.model.embedding import embedding_of
from beholder.model.folder import read_model
from beholder.model.importing import import_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.pool import ClassifierPool
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from beholder.model.sources.source import Description
from tiny_models import BLUE, DARK, LABELS, RED, expected_probabilities, head, tiny_graph, write_folder

pytestmark = pytest.mark.pure

Runtime = Callable[[ModelSpec], Classifier]
RUNTIMES = [OpenVinoClassifier, OnnxRuntimeClassifier]
PURPLE = np.full((8, 8, 3), (200, 0, 100), np.uint8)


def with_outputs(*names: str, first: bool = False) -> bytes:
    """Return the tiny graph with further outputs, behind the logits or before them."""
    model = onnx.load_from_string(tiny_graph(side=8))
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in names]
    outputs = [*more, *model.graph.output] if first else [*model.graph.output, *more]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return model.SerializeToString()


def imported(folder: Path, graph: bytes, load: Runtime = OpenVinoClassifier, **said: Any) -> ModelSpec:
    file, names = folder / "it.onnx", folder / "names.txt"
    file.write_bytes(graph)
    names.write_text("\n".join(LABELS), encoding="utf-8")
    description = Description("it", labels=names, preprocessing=Preprocessing(), **said)
    told: list[str] = []
    spec = import_model(file, folder / "models" / "it", description, load=load, tell=told.append)
    size = f"flat: {spec.embedding_size} values, scaled to length 1"
    assert any(size in line for line in told) is bool(spec.embedding)
    return spec


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (tiny_graph(side=8), {}),
        (tiny_graph(side=8, batch=1), {}),
        (with_outputs("flat"), {}),
        (with_outputs("flat", first=True), {}),
        (with_outputs("flat", "weights"), {"output": "logits"}),
    ],
    ids=["inner tensor", "one image at once", "second output", "first output", "one of three"],
)
def test_a_tensor_of_the_graph_is_the_embedding(
    tmp_path: Path, runtime: Runtime, graph: bytes, said: dict[str, Any]
) -> None:
    # when
    spec = imported(tmp_path, graph, runtime, embedding="flat", **said)
    classifier = ClassifierPool([runtime(spec)])
    images = [RED, PURPLE, BLUE]
    rows = classifier.embed(images)
    # then
    assert (spec.embedding, spec.embedding_size) == ("flat", 3)
    assert read_model(spec.onnx_path.parent) == spec
    purple = np.array([200, 0, 100]) / np.hypot(200, 100)
    np.testing.assert_allclose(rows, [[1, 0, 0], purple, [0, 0, 1]], atol=0.01)
    np.testing.assert_allclose(classifier.classify(images), expected_probabilities(images), atol=0.03)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_zeros_stay_zeros_and_a_model_without_an_embedding_says_so(tmp_path: Path, runtime: Runtime) -> None:
    black = runtime(imported(tmp_path, tiny_graph(side=8), embedding="flat")).embed([DARK])
    assert (black == 0).all()
    assert not embedding_of(black[0]).is_normalised
    (tmp_path / "b").mkdir()
    with pytest.raises(InferenceFailed, match="it@1 gives no embedding"):
        runtime(imported(tmp_path / "b", tiny_graph(side=8))).embed([RED])


def test_a_value_is_written_in_the_digits_of_a_float32() -> None:
    row = np.array([1 / 3, -1e-9, 0.0, 2 / 3], np.float32)

    found = embedding_of(row)

    assert found.values[0] == 0.33333334
    assert (np.array(found.values, np.float32) == row).all()
    assert (found.size, found.is_normalised) == (4, True)


@pytest.mark.parametrize(
    ("graph", "said", "words"),
    [
        (tiny_graph(side=8), {"embedding": "pooled"}, "has no tensor 'pooled'"),
        (tiny_graph(side=8), {"embedding": "image"}, "has the shape .*name one of"),
        (with_outputs("flat"), {}, "has several outputs"),
        (with_outputs("flat", "weights"), {"embedding": "flat"}, "has several outputs"),
        (tiny_graph(side=8), {"embedding": "logits"}, "has several outputs"),
        (tiny_graph(side=8), {"embedding": "flat", "output": "x"}, "has no output 'x'"),
    ],
)
def test_what_is_no_embedding_is_refused(
    tmp_path: Path, graph: bytes, said: dict[str, Any], words: str
) -> None:
    with pytest.raises((ModelInvalid, ConfigError), match=words):
        imported(tmp_path, graph, **said)


def test_an_embedding_that_is_too_long_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["image"], ["long"]),
        helper.make_node("Identity", ["image"], ["x"]),
    ]
    model = onnx.load_from_string(head("x", nodes))
    model.graph.output.append(helper.make_tensor_value_info("long", TensorProto.FLOAT, ["n", 3 * 64 * 64]))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 64

    with pytest.raises(ModelInvalid, match="'long' has 12288 values; one has 8192 at most"):
        imported(tmp_path, model.SerializeToString(), embedding="long")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ('embedding = "flat"', "write both, or none"),
        ("embedding_size = 3", "write both, or none"),
        ('embedding = "flat"\nembedding_size = 8193', "up to 8192"),
        ('embedding = "flat"\nembedding_size = true', "up to 8192"),
        ('embedding = "flat"\nembedding_size = 4', "the embedding has 3 values; write embedding_size = 3"),
    ],
)
def test_a_folder_that_says_something_else_is_refused(tmp_path: Path, entries: str, words: str) -> None:
    folder = write_folder(tmp_path)
    path = folder / "model.toml"
    path.write_text(f"{entries}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")

    with pytest.raises(ModelInvalid, match=words):
        OpenVinoClassifier(read_model(folder)).warm_up()


def test_the_built_in_model_gives_photos_that_are_alike_embeddings_that_are() -> None:
    # given
    spec = ModelRegistry().find(BUILTIN_MODEL)
    random = np.random.default_rng(0)
    waves = np.sin(np.arange(224) / 9)[:, None, None] * np.full((1, 224, 3), 100) + 128
    photo, noise = waves.astype(np.uint8), random.integers(0, 256, (224, 224, 3), np.uint8)
    # when
    first, brighter, other = OpenVinoClassifier(spec).embed([photo, np.minimum(photo, 245) + 10, noise])
    # then
    np.testing.assert_allclose([np.linalg.norm(one) for one in (first, brighter, other)], 1.0, atol=0.01)
    assert spec.embedding_size == len(first) == 1280
    assert first @ brighter > 0.8
    assert first @ other < 0.5
