"""The ResNet-18 graph, proved against a ResNet-18 written in plain numpy."""

import sys

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.resnet import check_resnet18, resnet18_onnx
from resnet_reference import State, random_state, resnet18


def run(graph: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(classes=7)


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
def test_the_graph_computes_a_resnet18(state: State, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).random((2, 3, *size), np.float32)

    found = run(resnet18_onnx(state), image)

    expected = resnet18(state, image)
    assert found.shape == (2, 7)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))


def test_the_same_weights_give_the_same_bytes(state: State) -> None:
    assert resnet18_onnx(state) == resnet18_onnx(dict(state))


def test_the_number_of_classes_is_the_checkpoints_own(state: State) -> None:
    assert check_resnet18(state) == 7


def test_the_counters_of_batch_norms_are_ignored(state: State) -> None:
    assert check_resnet18({**state, "bn1.num_batches_tracked": np.array(5)}) == 7


def problems_of(state: State) -> str:
    with pytest.raises(ModelInvalid) as caught:
        check_resnet18(state)
    return "\n".join(caught.value.problems)


def test_missing_names_are_reported(state: State) -> None:
    less = {name: values for name, values in state.items() if not name.startswith("layer4.1.bn2")}

    problems = problems_of(less)

    assert "lacks layer4.1.bn2.weight, layer4.1.bn2.bias" in problems
    assert "and 95 more" in problems_of({"fc.weight": state["fc.weight"], "fc.bias": state["fc.bias"]})


def test_a_deeper_network_is_refused(state: State) -> None:
    problems = problems_of({**state, "layer1.2.conv1.weight": state["layer1.1.conv1.weight"]})

    assert "also has layer1.2.conv1.weight" in problems


@pytest.mark.parametrize(
    ("name", "shape"),
    [("conv1.weight", (64, 1, 7, 7)), ("bn1.bias", (65,)), ("fc.weight", (7, 511)), ("fc.bias", (8,))],
)
def test_wrong_shapes_are_reported(state: State, name: str, shape: tuple[int, ...]) -> None:
    problems = problems_of({**state, name: np.zeros(shape, np.float32)})

    assert name in problems


def test_without_onnx_it_says_how_to_install_it(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(ConfigError, match="pip install torch onnx"):
        resnet18_onnx(state)
