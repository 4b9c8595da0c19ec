"""Builds the ONNX file of a network from the arrays of its checkpoint, with one array in memory at a time.

The batch normalisations are folded into the convolutions. Building needs the package onnx, and no torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.model.extras import import_extra
from beholder.model.protobuf import field_head

__all__ = ["OnnxBuilder", "State"]

_OPSET = 17
# ONNX Runtime 1.20, the oldest version allowed, reads IR version 10 at most; opset 17 came with 8.
_IR_VERSION = 8
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# Fields of ONNX's messages: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9

State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Weight:
    """An initializer of the graph that is computed when it is written."""

    name: str
    shape: tuple[int, ...]
    compute: Callable[[], Any]


class OnnxBuilder:
    """The nodes and weights so far; each layer's method adds its nodes and returns the name of its output.

    Args:
        state: The checkpoint's arrays by name.
        epsilon: Of the batch normalisations, which a checkpoint does not hold.

    Raises:
        ConfigError: The package onnx is not installed.
    """

    def __init__(self, state: State, *, epsilon: float) -> None:
        self._onnx: Any = import_extra("onnx", "onnx")
        self._state = state
        self._epsilon = epsilon
        self._nodes: list[Any] = []
        self._weights: list[_Weight] = []

    def add(self, operator: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node."""
        output = output or f"x{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def conv(
        self, conv: str, norm: str, value: str, *, stride: int, pads: Sequence[int], groups: int = 1
    ) -> str:
        """Add a convolution with the batch normalisation behind it.

        Args:
            conv: The convolution's name in the checkpoint.
            norm: The normalisation's.
            value: The input.
            stride: In both directions.
            pads: Top, left, bottom, right.
            groups: Of the channels.
        """
        shape = self._state[f"{conv}.weight"].shape

        # In double precision, so that the folding rounds only once.
        scale, shift, mean, variance = (
            np.asarray(self._state[f"{norm}.{part}"], np.float64) for part in _NORM_PARTS
        )
        factor = scale / np.sqrt(variance + self._epsilon)

        def kernel() -> Any:
            return np.asarray(self._state[f"{conv}.weight"], np.float64) * factor[:, None, None, None]

        def bias() -> Any:
            return shift - mean * factor

        weights = [self.weight(f"{conv}.weight", shape, kernel), self.weight(f"{conv}.bias", shape[:1], bias)]
        return self.add("Conv", [value, *weights], strides=[stride] * 2, pads=list(pads), group=groups)

    def classifier(self, name: str, value: str) -> None:
        """Add the pooling over all places and the layer that gives the logits."""
        flat = self.add("Flatten", [self.add("GlobalAveragePool", [value])])
        parts = [f"{name}.weight", f"{name}.bias"]
        weights = [
            self.weight(part, self._state[part].shape, partial(self._state.__getitem__, part))
            for part in parts
        ]
        self.add("Gemm", [flat, *weights], output="logits", transB=1)

    def weight(self, name: str, shape: Sequence[int], compute: Callable[[], Any]) -> str:
        """Add an initializer."""
        self._weights.append(_Weight(name, tuple(shape), compute))
        return name

    def pieces(self, name: str, classes: int, side: int | None) -> Iterator[bytes | memoryview]:
        """Yield the file: a graph from `image` to `logits`.

        Args:
            name: The graph's.
            classes: How many logits it gives.
            side: Of the images; None if it takes any size.
        """
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        height, width = ("height", "width") if side is None else (side, side)
        image = helper.make_tensor_value_info("image", kind, ["n", 3, height, width])
        logits = helper.make_tensor_value_info("logits", kind, ["n", classes])
        model = helper.make_model(
            helper.make_graph(self._nodes, name, [image], [logits]),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="beholder",
        )
        nodes = model.graph.SerializeToString(deterministic=True)
        model.ClearField("graph")
        heads = [self._tensor_head(weight) for weight in self._weights]
        yield model.SerializeToString(deterministic=True)
        yield field_head(_GRAPH, len(nodes) + sum(len(head) + size for head, size in heads))
        yield nodes
        for weight, (head, _) in zip(self._weights, heads, strict=True):
            yield head
            values = np.ascontiguousarray(weight.compute(), "<f4")
            yield values.data.cast("B")

    def _tensor_head(self, weight: _Weight) -> tuple[bytes, int]:
        """Return an initializer up to its numbers, and how many bytes these take."""
        proto = self._onnx.TensorProto(dims=weight.shape, data_type=1, name=weight.name)
        size = int(np.prod(weight.shape, dtype=np.int64)) * 4
        described = proto.SerializeToString(deterministic=True) + field_head(_RAW_DATA, size)
        return field_head(_INITIALIZER, len(described) + size) + described, size
