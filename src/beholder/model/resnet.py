"""ResNet-18 as an ONNX graph, built from the weights of a torchvision checkpoint.

The batch normalisations are folded into the convolutions, and the pooling before the last layer takes any
size, so the graph runs images as they are. Building it needs the package onnx, and no torch.

Source:
    K. He et al., "Deep Residual Learning for Image Recognition", 2015, table 1 (18 layers); the names are
    those of torchvision/models/resnet.py, 0.29.2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ModelInvalid
from beholder.model.extras import import_extra

__all__ = ["check_resnet18", "resnet18_onnx"]

_OPSET = 17
# ONNX Runtime 1.20, the oldest version allowed, reads IR version 10 at most; opset 17 came with 8.
_IR_VERSION = 8
_WIDTHS = (64, 128, 256, 512)
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# The default of torch.nn.BatchNorm2d, which a checkpoint does not hold.
_EPSILON = 1e-5

State = Mapping[str, NDArray[Any]]


def check_resnet18(state: State) -> int:
    """Check that a checkpoint holds a ResNet-18 and return its number of classes.

    Args:
        state: The checkpoint's arrays by name.

    Raises:
        ModelInvalid: Names are missing, unknown, or have another shape.
    """
    expected = _shapes()
    names = {name for name in state if not name.endswith(".num_batches_tracked")}
    problems = []
    if missing := [name for name in expected if name not in names]:
        problems.append(f"the checkpoint lacks {_some(missing)}; it is no torchvision ResNet-18")
    if unknown := sorted(names - set(expected)):
        problems.append(f"the checkpoint also has {_some(unknown)}, which no torchvision ResNet-18 has")
    for name, shape in expected.items():
        if name not in state:
            continue
        actual = state[name].shape
        # The first axis of the last layer is the number of classes, which is the model's own.
        if actual[1:] != shape[1:] or (shape[0] > 0 and actual != shape):
            problems.append(f"{name} has shape {actual}, a ResNet-18's is {shape}")
    if not problems and state["fc.weight"].shape[:1] != state["fc.bias"].shape:
        problems.append("fc.weight and fc.bias differ in their number of classes")
    if problems:
        raise ModelInvalid(problems)
    return int(state["fc.bias"].shape[0])


def resnet18_onnx(state: State) -> bytes:
    """Return the graph as an ONNX file: input `image`, output `logits`.

    Args:
        state: The checkpoint's arrays by name.

    Shape:
        image: (n, 3, height, width) float32, of any height and width.
        logits: (n, classes) float32.

    Raises:
        ModelInvalid: The checkpoint holds no ResNet-18.
        ConfigError: The package onnx is not installed.
    """
    classes = check_resnet18(state)
    onnx = import_extra("onnx", "torch")
    return _Graph(onnx, state).build(classes)


class _Graph:
    """The nodes and weights so far; each layer's method adds its nodes and returns the name of its output."""

    def __init__(self, onnx: Any, state: State) -> None:
        self._onnx = onnx
        self._state = state
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def build(self, classes: int) -> bytes:
        value = self._relu(self._conv("conv1", "bn1", "image", stride=2, padding=3))
        value = self._add("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for stage in range(1, len(_WIDTHS) + 1):
            for block in range(2):
                value = self._block(
                    f"layer{stage}.{block}", value, stride=2 if stage > 1 and block == 0 else 1
                )
        value = self._add("Flatten", [self._add("GlobalAveragePool", [value])])
        weights = [self._weight(name, self._state[name]) for name in ("fc.weight", "fc.bias")]
        self._nodes.append(self._onnx.helper.make_node("Gemm", [value, *weights], ["logits"], transB=1))
        return self._file(classes)

    def _block(self, name: str, value: str, *, stride: int) -> str:
        inner = self._relu(self._conv(f"{name}.conv1", f"{name}.bn1", value, stride=stride, padding=1))
        inner = self._conv(f"{name}.conv2", f"{name}.bn2", inner, stride=1, padding=1)
        if f"{name}.downsample.0.weight" in self._state:
            value = self._conv(
                f"{name}.downsample.0", f"{name}.downsample.1", value, stride=stride, padding=0
            )
        return self._relu(self._add("Add", [inner, value]))

    def _conv(self, conv: str, norm: str, value: str, *, stride: int, padding: int) -> str:
        # In double precision, so that the folding rounds only once.
        scale, shift, mean, variance = (
            np.asarray(self._state[f"{norm}.{part}"], np.float64) for part in _NORM_PARTS
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        kernel = np.asarray(self._state[f"{conv}.weight"], np.float64) * factor[:, None, None, None]
        weights = [
            self._weight(f"{conv}.weight", kernel),
            self._weight(f"{conv}.bias", shift - mean * factor),
        ]
        return self._add("Conv", [value, *weights], strides=[stride] * 2, pads=[padding] * 4)

    def _relu(self, value: str) -> str:
        return self._add("Relu", [value])

    def _weight(self, name: str, values: NDArray[Any]) -> str:
        self._weights.append(self._onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def _add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"x{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _file(self, classes: int) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info("image", kind, ["n", 3, "height", "width"])
        logits = helper.make_tensor_value_info("logits", kind, ["n", classes])
        graph = helper.make_graph(self._nodes, "resnet18", [image], [logits], self._weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="beholder",
        )
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def _shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a ResNet-18; 0 stands for the number of classes."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **_norm_shapes("bn1", 64)}
    width_in = _WIDTHS[0]
    for stage, width in enumerate(_WIDTHS, start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, width_in, 3, 3)
            shapes |= _norm_shapes(f"{name}.bn1", width)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes |= _norm_shapes(f"{name}.bn2", width)
            if width != width_in:
                shapes[f"{name}.downsample.0.weight"] = (width, width_in, 1, 1)
                shapes |= _norm_shapes(f"{name}.downsample.1", width)
            width_in = width
    return shapes | {"fc.weight": (0, _WIDTHS[-1]), "fc.bias": (0,)}


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in _NORM_PARTS}


def _some(names: list[str]) -> str:
    shown = 5
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
