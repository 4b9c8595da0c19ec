"""The graphs of ResNets, proved against ResNets written in plain numpy."""

import math
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.resnet import RESNETS, Resnet, _shapes, check_resnet, find_resnet, resnet_onnx
from resnet_reference import State, logits, random_state

RESNET18 = RESNETS["resnet18"]
# Weights and biases with 1,000 classes.
# Source: torchvision/models/resnet.py, num_params of each IMAGENET1K_V1 (64x4d), 0.29.2.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}


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

    found = run(b"".join(resnet_onnx(state, RESNET18)), image)

    expected = logits(state, image)
    assert found.shape == (2, 7)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))


@pytest.mark.parametrize(("groups", "group_width"), [(1, 64), (4, 8)])
def test_a_graph_of_bottlenecks_computes_what_the_paper_says(groups: int, group_width: int) -> None:
    # given the blocks of resnet50, resnext and wide_resnet, few of them
    depths = (2, 1, 1, 1)
    small = Resnet("small", depths, groups=groups, group_width=group_width)
    state = random_state(classes=5, depths=depths, bottleneck=(groups, group_width))
    image = np.random.default_rng(1).random((1, 3, 40, 33), np.float32)
    # when
    found = run(b"".join(resnet_onnx(state, small)), image)
    # then
    expected = logits(state, image)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))


@pytest.mark.parametrize("name", RESNETS)
def test_each_resnet_has_as_many_weights_as_torchvisions(name: str) -> None:
    counts = [math.prod(shape) for key, shape in _shapes_of_1000(name).items() if "running_" not in key]

    assert sum(counts) == PARAMETERS[name]


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_is_found_by_its_names_and_shapes(name: str) -> None:
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in _shapes_of_1000(name).items()}

    assert find_resnet(state) == RESNETS[name]
    assert find_resnet({**state, "more": np.zeros(1)}) is None


def _shapes_of_1000(name: str) -> dict[str, tuple[int, ...]]:
    return {key: (shape[0] or 1000, *shape[1:]) for key, shape in _shapes(RESNETS[name]).items()}


def test_the_same_weights_give_the_same_bytes(state: State) -> None:
    one, two = (b"".join(resnet_onnx(given, RESNET18)) for given in (state, dict(state)))

    assert one == two
    onnx.checker.check_model(onnx.load_from_string(one), full_check=True)


def test_the_number_of_classes_is_the_checkpoints_own(state: State) -> None:
    assert check_resnet(state, RESNET18) == 7


def test_the_counters_of_batch_norms_are_ignored(state: State) -> None:
    assert check_resnet({**state, "bn1.num_batches_tracked": np.array(5)}, RESNET18) == 7


def problems_of(state: State) -> str:
    with pytest.raises(ModelInvalid) as caught:
        check_resnet(state, RESNET18)
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

    with pytest.raises(ConfigError, match=r"run: pip install onnx$"):
        resnet_onnx(state, RESNET18)
