"""One suite for both runtimes: the same answers, the same refusals."""

import ctypes
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from beholder.errors import ConfigError, JobError, ModelInvalid
from beholder.model import onnx_runtime, openvino_cpu, weights_in_place
from beholder.model.folder import read_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import Classifier
from tiny_models import (
    BIAS,
    BLUE,
    DARK,
    GREEN,
    LABELS,
    RED,
    WEIGHTS,
    expected_probabilities,
    graph_file,
    head,
    tiny_graph,
    write_folder,
)

Runtime = type[OpenVinoClassifier] | type[OnnxRuntimeClassifier]

AS_IS = 'preprocessing = "as-is"'
BOTH = pytest.mark.parametrize("runtime", [OpenVinoClassifier, OnnxRuntimeClassifier])
PRECISION_TOLERANCE = 1e-5


def ready(runtime: Runtime, folder: Path, **options: Any) -> Classifier:
    if runtime is OpenVinoClassifier:
        options.setdefault("precision", "fp32")
    classifier = runtime(read_model(folder), **options)
    classifier.warm_up()
    return classifier


def refusal(runtime: Runtime, folder: Path) -> str:
    with pytest.raises(ModelInvalid) as caught:
        ready(runtime, folder)
    return "\n".join(caught.value.problems)


@BOTH
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 20])
def test_answers_are_probabilities_in_the_order_of_the_images(
    tmp_path: Path, runtime: Runtime, count: int
) -> None:
    images = ([RED, GREEN, BLUE, DARK, RED // 2] * 4)[:count]

    found = ready(runtime, write_folder(tmp_path)).classify(images)

    assert found.shape == (count, len(LABELS))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=PRECISION_TOLERANCE)
    np.testing.assert_allclose(found, expected_probabilities(images), atol=PRECISION_TOLERANCE)


@BOTH
@pytest.mark.parametrize("makes_files", [True, False])
def test_a_large_graph_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime, *, makes_files: bool
) -> None:
    # given a graph with 200,704 bytes of weights that make no difference
    monkeypatch.setattr("beholder.model.folder._LARGE_BYTES", 1_000)
    asked = []

    def new_file(**options: Any) -> Any:
        asked.append(options["dir"])
        if not makes_files:
            raise PermissionError
        return named_temporary_file(**options)

    named_temporary_file = tempfile.NamedTemporaryFile
    monkeypatch.setattr(weights_in_place.tempfile, "NamedTemporaryFile", new_file)
    kernel = np.zeros((64, 3, 16, 16), np.float32)
    ones = [
        helper.make_node("Conv", ["image", "kernel"], ["zeros"], pads=[15, 15, 0, 0]),
        helper.make_node("ReduceSum", ["zeros", "axis"], ["zero"], keepdims=1),
        helper.make_node("Add", ["image", "zero"], ["x"]),
    ]
    graph = head("x", ones, kernel=kernel, axis=np.array([1]))
    model = write_folder(tmp_path, graph=graph)
    # when
    found = ready(runtime, model).classify([RED, DARK])
    # then
    np.testing.assert_allclose(found, expected_probabilities([RED, DARK]), atol=PRECISION_TOLERANCE)
    assert asked == [model]
    assert sorted(path.name for path in model.iterdir()) == ["labels.txt", "model.onnx", "model.toml"]


@BOTH
def test_normalisation_is_by_colour(tmp_path: Path, runtime: Runtime) -> None:
    table = '[preprocessing]\nkind = "centre-crop"\nsize = 8\nmean = [10, 20, 30]\nscale = [100, 200, 50]'
    mean, scale = np.array([10, 20, 30]), np.array([100, 200, 50])
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    found = ready(runtime, write_folder(tmp_path, preprocessing=table)).classify([image])

    expected = expected_probabilities([image], mean=mean, scale=scale)
    np.testing.assert_allclose(found, expected, atol=PRECISION_TOLERANCE)


@BOTH
def test_a_graph_that_ends_in_a_softmax_gets_no_second_one(tmp_path: Path, runtime: Runtime) -> None:
    folder = write_folder(tmp_path, graph=tiny_graph(softmax=True), output="probabilities")

    found = ready(runtime, folder).classify([RED, DARK])

    np.testing.assert_allclose(found, expected_probabilities([RED, DARK]), atol=PRECISION_TOLERANCE)


@BOTH
def test_as_is_takes_images_of_any_size_in_one_batch(tmp_path: Path, runtime: Runtime) -> None:
    random = np.random.default_rng(0)
    sizes = [(8, 8), (5, 30), (8, 8), (64, 3), (5, 30), (300, 200)]
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    folder = write_folder(tmp_path, graph=tiny_graph(side="any"), preprocessing=AS_IS)

    found = ready(runtime, folder).classify(images)

    np.testing.assert_allclose(found, expected_probabilities(images), atol=PRECISION_TOLERANCE)


@BOTH
def test_a_graph_of_a_single_image_is_run_image_by_image(tmp_path: Path, runtime: Runtime) -> None:
    folder = write_folder(tmp_path, graph=tiny_graph(batch=1))

    found = ready(runtime, folder).classify([RED, GREEN, BLUE])

    assert found.argmax(axis=1).tolist() == [0, 1, 2]


@BOTH
def test_views_and_read_only_images_are_taken(tmp_path: Path, runtime: Runtime) -> None:
    mirrored = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)[:, ::-1]
    frozen = RED.copy()
    frozen.setflags(write=False)
    classifier = ready(runtime, write_folder(tmp_path))

    for image in (mirrored, frozen):
        np.testing.assert_allclose(
            classifier.classify([image]), expected_probabilities([image]), atol=PRECISION_TOLERANCE
        )


@BOTH
def test_an_answer_is_not_overwritten_by_the_next(tmp_path: Path, runtime: Runtime) -> None:
    classifier = ready(runtime, write_folder(tmp_path))

    first = classifier.classify([RED])
    classifier.classify([BLUE])

    assert first.argmax() == 0


@BOTH
def test_the_first_batch_warms_up_by_itself(tmp_path: Path, runtime: Runtime) -> None:
    classifier = runtime(read_model(write_folder(tmp_path)))

    assert classifier.classify([BLUE]).argmax() == LABELS.index("blue")
    assert classifier.precision in ("fp32", "bf16")
    assert classifier.spec.name == "tiny"


@BOTH
def test_a_damaged_graph_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    assert "cannot use this graph" in refusal(runtime, write_folder(tmp_path, graph=b"no graph at all"))


@BOTH
def test_a_label_file_of_another_length_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    folder = write_folder(tmp_path, labels=("red", "green", "blue"))

    assert "the graph has 4 classes, the label file 3 names" in refusal(runtime, folder)


@BOTH
def test_a_graph_of_two_inputs_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    nodes = [
        helper.make_node("Add", ["image", "mask"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
    ]
    shape = ["n", 3, 8, 8]
    graph = graph_file(
        nodes,
        inputs={"image": shape, "mask": shape},
        outputs={"logits": ["n", 4]},
        weights={"weights": WEIGHTS, "bias": BIAS},
    )

    assert "2 inputs and 1 outputs" in refusal(runtime, write_folder(tmp_path, graph=graph))


@BOTH
def test_a_graph_that_takes_no_images_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    nodes = [helper.make_node("Relu", ["values"], ["out"])]
    graph = graph_file(nodes, inputs={"values": ["n", 4, 5]}, outputs={"out": ["n", 4, 5]})

    problems = refusal(runtime, write_folder(tmp_path, graph=graph))

    assert "export the graph with (n, 3, height, width)" in problems
    assert "export the graph with (n, classes)" in problems


@BOTH
def test_a_graph_of_another_size_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    # The last layer takes exactly the 3 x 8 x 8 values of an image of 8 x 8.
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    graph = graph_file(
        nodes,
        inputs={"image": ["n", 3, 8, 8]},
        outputs={"logits": ["n", 4]},
        weights={"weights": np.ones((4, 192), np.float32)},
    )
    table = '[preprocessing]\nkind = "centre-crop"\nsize = 16'

    assert str(tmp_path) in refusal(runtime, write_folder(tmp_path, graph=graph, preprocessing=table))


@BOTH
def test_a_graph_of_one_size_is_no_as_is_model(tmp_path: Path, runtime: Runtime) -> None:
    # The last layer takes exactly the values of an image of 224 x 224.
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    graph = graph_file(
        nodes,
        inputs={"image": ["n", 3, "height", "width"]},
        outputs={"logits": ["n", 4]},
        weights={"weights": np.ones((4, 3 * 224 * 224), np.float32)},
    )
    folder = write_folder(tmp_path, graph=graph, preprocessing=AS_IS)

    assert "cannot run an image of 257 x 331 pixels" in refusal(runtime, folder)


@BOTH
def test_an_image_of_another_size_than_the_models_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    classifier = ready(runtime, write_folder(tmp_path))

    with pytest.raises(JobError, match="cannot run an image of 16 x 9 pixels"):
        classifier.classify([np.zeros((9, 16, 3), np.uint8)])
    assert classifier.classify([RED]).argmax() == 0


def test_a_precision_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write 'fp32', 'bf16', or nothing"):
        ready(OpenVinoClassifier, write_folder(tmp_path), precision="int4")


@pytest.mark.parametrize(
    ("capabilities", "wanted", "chosen"),
    [
        (["FP32", "BF16"], None, "bf16"),
        (["FP32", "INT8"], None, "fp32"),
        (["FP32", "BF16"], "fp32", "fp32"),
        (["FP32", "BF16"], "bf16", "bf16"),
        (["FP32"], "bf16", None),
    ],
)
def test_precision_follows_what_the_cpu_reports(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[str], wanted: str | None, chosen: str | None
) -> None:
    monkeypatch.setattr(openvino_cpu, "cpu_capabilities", lambda: capabilities)

    if chosen is None:
        with pytest.raises(ConfigError, match="does not compute in bf16"):
            openvino_cpu._choose_precision(wanted)
    else:
        assert openvino_cpu._choose_precision(wanted) == chosen


def test_without_onnx_runtime_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules is Python's way to say that a module cannot be imported.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        ready(OnnxRuntimeClassifier, write_folder(tmp_path))


def test_a_provider_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no MoonExecutionProvider; it has"):
        ready(OnnxRuntimeClassifier, write_folder(tmp_path), providers=["MoonExecutionProvider"])


def test_a_graph_of_a_fixed_batch_is_refused_by_onnx_runtime(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, graph=tiny_graph(batch=2))

    assert "export it with a free first axis" in refusal(OnnxRuntimeClassifier, folder)


def test_the_runtimes_are_imported_only_when_a_model_is_loaded() -> None:
    program = (
        "import sys; from beholder.model import openvino_cpu, onnx_runtime, registry, importing, checking; "
        "registry.ModelRegistry().list_models(); "
        "found = {'openvino', 'onnxruntime', 'onnx', 'torch', 'cv2'} & set(sys.modules); "
        "assert not found, found; "
        "openvino_cpu._choose_precision(None); "
        "assert 'openvino' in sys.modules and 'openvino.tools.ovc' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_softmax_does_not_overflow() -> None:
    found = onnx_runtime._softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], np.float32))

    np.testing.assert_allclose(found, [[1.0, 0.0], [0.5, 0.5]])


class SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> int | None:
    """Return the address of this thread's stack for signals."""
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    start: int | None = found.start
    return start


@pytest.mark.parametrize("precision", ["fp32", None])
def test_no_signal_of_this_thread_runs_on_a_stack_of_openvino_s(
    tmp_path: Path, precision: str | None
) -> None:
    # given: a thread of its own, as those of other tests have been given what they have
    folder = write_folder(tmp_path)

    def stacks() -> list[int | None]:
        found, kept = [signal_stack()], []
        for _ in range(2):
            kept.append(ready(OpenVinoClassifier, folder, precision=precision))
            found.append(signal_stack())
        return found

    with ThreadPoolExecutor(1) as threads:
        # when
        first, *others = threads.submit(stacks).result()
    # then: such a stack is freed with a classifier that another thread drops, and the next signal is the end
    assert others == [first] * 2
