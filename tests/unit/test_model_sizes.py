"""Models that take any size above their smallest: no answer is another image's, on both runtimes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from beholder.errors import ImageSizeUnsupported, InferenceFailed, ModelInvalid
from beholder.model.folder import read_model
from beholder.model.graph import Graph
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.pool import ClassifierPool
from beholder.model.port import Classifier
from tiny_models import expected_probabilities, head, smallest_graphs, tiny_graph, write_folder

pytestmark = pytest.mark.pure

Runtime = type[OpenVinoClassifier] | type[OnnxRuntimeClassifier]

AS_IS = 'preprocessing = "as-is"'
BOTH = pytest.mark.parametrize(
    "runtime", [OpenVinoClassifier, pytest.param(OnnxRuntimeClassifier, marks=pytest.mark.slow)]
)
GRAPHS = smallest_graphs()
TOLERANCE = 1e-4


def fresh(runtime: Runtime, folder: Path) -> Classifier:
    spec = read_model(folder)
    return runtime(spec, precision="fp32") if runtime is OpenVinoClassifier else runtime(spec)


def image_of(colour: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def answer(classifier: Classifier, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    try:
        return classifier.classify([image])[0]
    except ImageSizeUnsupported:
        return None


@pytest.mark.parametrize(("graph", "smallest"), GRAPHS.values(), ids=GRAPHS.keys())
def test_the_smallest_size_is_found(graph: bytes, smallest: tuple[int, int]) -> None:
    assert Graph(graph, "it").smallest() == smallest


@BOTH
@pytest.mark.parametrize("name", GRAPHS)
def test_a_small_image_gets_an_error_and_the_next_its_own_answer(
    tmp_path: Path, runtime: Runtime, name: str
) -> None:
    # given
    graph, (height, width) = GRAPHS[name]
    folder = write_folder(tmp_path, graph=graph, preprocessing=AS_IS)
    classifier = fresh(runtime, folder)
    proper = image_of((0, 255, 0), 64, 64)
    expected = fresh(runtime, folder).classify([proper])
    classifier.classify([image_of((255, 0, 0), 64, 64)])
    for small in ((height - 1, width), (height, width - 1), (height // 2, width // 2), (1, 1)):
        # when
        with pytest.raises(ImageSizeUnsupported) as caught:
            classifier.classify([image_of((0, 0, 255), *small)])
        # then
        assert caught.value.http_status == 422
        assert f"the smallest it runs is {width} x {height}" in caught.value.message
        np.testing.assert_allclose(classifier.classify([proper]), expected, atol=TOLERANCE)


@BOTH
@pytest.mark.parametrize("name", GRAPHS)
def test_each_answer_is_that_of_the_image_alone(tmp_path: Path, runtime: Runtime, name: str) -> None:
    # given two classifiers, so that each meets its own part of the sequence
    graph, (height, width) = GRAPHS[name]
    folder = write_folder(tmp_path, graph=graph, preprocessing=AS_IS)
    pool = ClassifierPool([fresh(runtime, folder), fresh(runtime, folder)])
    random = np.random.default_rng(0)
    for _ in range(12):
        batch = [
            image_of(random.integers(0, 256, 3).tolist(), *(least + random.integers(-3, 4, 2)).tolist())
            for least in [np.array([height, width])] * 5
        ]
        proper = [image for image in batch if image.shape[0] >= height and image.shape[1] >= width]
        # when they come one by one, as one batch, and those that can be run as one batch
        for image in batch:
            found = answer(pool, image)
            # then an answer is what the image's colour gives, whatever came before
            if any(image is one for one in proper):
                np.testing.assert_allclose(found, expected_probabilities([image])[0], atol=TOLERANCE)
            else:
                assert found is None
        if len(proper) < len(batch):
            with pytest.raises(ImageSizeUnsupported):
                pool.classify(batch)
        if proper:
            np.testing.assert_allclose(pool.classify(proper), expected_probabilities(proper), atol=TOLERANCE)


def test_a_layer_that_fails_as_it_runs_leaves_nothing_to_the_next_image(tmp_path: Path) -> None:
    # given a size that the graph cannot run, and no check of it before
    graph, _ = GRAPHS["cropping pad"]
    folder = write_folder(tmp_path, graph=graph, preprocessing=AS_IS)
    classifier = OpenVinoClassifier(read_model(folder), precision="fp32")
    classifier.warm_up()
    assert classifier._sizes is not None
    classifier._sizes.check_size = lambda *_: None  # type: ignore[method-assign]
    proper = image_of((0, 255, 0), 64, 64)
    expected = fresh(OpenVinoClassifier, folder).classify([proper])
    compiled = classifier._requests[1]
    # when
    with pytest.raises(InferenceFailed, match="no numbers"):
        classifier.classify([image_of((0, 0, 255), 8, 8)])
    # then what ran it is not used again
    assert classifier._requests[1] is not compiled
    np.testing.assert_allclose(classifier.classify([proper]), expected, atol=TOLERANCE)


@BOTH
def test_an_answer_that_is_no_number_is_that_images_failure(tmp_path: Path, runtime: Runtime) -> None:
    # given a graph that divides by the mean of each colour
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["level"]),
        helper.make_node("Div", ["image", "level"], ["x"]),
    ]
    folder = write_folder(tmp_path, graph=head("x", nodes), preprocessing=AS_IS)
    classifier = fresh(runtime, folder)
    proper = image_of((10, 20, 30), 16, 16)
    # when
    with pytest.raises(InferenceFailed, match="no numbers"):
        classifier.classify([proper, image_of((0, 0, 0), 16, 16)])
    # then
    np.testing.assert_allclose(classifier.classify([proper]).sum(), 1.0, atol=TOLERANCE)


@BOTH
def test_a_model_whose_folder_is_removed_goes_on_after_an_image_that_fails(
    tmp_path: Path, runtime: Runtime
) -> None:
    # given a graph that divides by the mean of each colour
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["level"]),
        helper.make_node("Div", ["image", "level"], ["x"]),
    ]
    folder = write_folder(tmp_path / "mine", graph=head("x", nodes), preprocessing=AS_IS)
    classifier = fresh(runtime, folder)
    classifier.warm_up()
    shutil.rmtree(folder)
    # when
    with pytest.raises(InferenceFailed, match="no numbers"):
        classifier.classify([image_of((0, 0, 0), 16, 16)])
    # then
    np.testing.assert_allclose(
        classifier.classify([image_of((10, 20, 30), 16, 16)]).sum(), 1.0, atol=TOLERANCE
    )


@BOTH
def test_logits_that_are_declared_probabilities_are_no_answer(tmp_path: Path, runtime: Runtime) -> None:
    folder = write_folder(tmp_path, output="probabilities")

    with pytest.raises(ModelInvalid, match="add up to"):
        fresh(runtime, folder).warm_up()


def test_operators_that_the_runtime_does_not_know_are_named(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_graph())
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Magic", "com.acme"
    folder = write_folder(tmp_path, graph=model.SerializeToString())

    with pytest.raises(ModelInvalid, match=r"No conversion rule found for operations: com\.acme\.Magic"):
        fresh(OpenVinoClassifier, folder).warm_up()


@BOTH
def test_probabilities_that_are_declared_logits_are_refused(tmp_path: Path, runtime: Runtime) -> None:
    folder = write_folder(tmp_path, graph=tiny_graph(softmax=True), output="logits")

    with pytest.raises(ModelInvalid, match='ends in a softmax; write output = "probabilities"'):
        fresh(runtime, folder).warm_up()


@BOTH
def test_the_sizes_that_are_remembered_are_bounded(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beholder.model.graph._SIZES_KEPT_MAX", 2)
    folder = write_folder(tmp_path, graph=tiny_graph(side="any"), preprocessing=AS_IS)
    classifier = fresh(runtime, folder)

    for height in (9, 10, 11, 9):
        assert classifier.classify([image_of((255, 0, 0), height, 9)])[0].argmax() == 0
