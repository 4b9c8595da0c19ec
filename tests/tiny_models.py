"""Model folders small enough to compile in milliseconds, for the tests of the model room."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LABELS = ("red", "green", "blue", "dark")
# Logits of the four classes from the mean red, green and blue of an image, each 0 to 1.
WEIGHTS = np.array([[4, -2, -2], [-2, 4, -2], [-2, -2, 4], [-1, -1, -1]], np.float32)
BIAS = np.array([0, 0, 0, 1], np.float32)
RED, GREEN, BLUE, DARK = (
    np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0))
)


def head(value: str, before: list[onnx.NodeProto], **weights: NDArray[Any]) -> bytes:
    """Return a graph of any image size: nodes that make `value` of `image`, then the tiny graph's."""
    nodes = [
        *before,
        helper.make_node("GlobalAveragePool", [value], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
    ]
    return graph_file(
        nodes,
        inputs={"image": ["n", 3, "height", "width"]},
        outputs={"logits": ["n", len(LABELS)]},
        weights={"weights": WEIGHTS, "bias": BIAS, **weights},
    )


def smallest_graphs() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """Return graphs with a smallest image size, and that (height, width), by what makes it."""
    node = helper.make_node
    corner = {"starts": np.array([20, 10]), "ends": np.array([9999, 9999]), "axes": np.array([2, 3])}
    sliced = node("Slice", ["image", *corner], ["x"])
    kernel = np.zeros((3, 3, 32, 32), np.float32)
    # Each colour's mean over 32 x 32 pixels.
    kernel[range(3), range(3)] = 1 / 1024

    def pool(operator: str = "MaxPool", **attributes: Any) -> bytes:
        return head("x", [node(operator, ["image"], ["x"], **attributes)])

    def pad(mode: str, rows: int, columns: int) -> bytes:
        pads = np.array([0, 0, rows, columns] * 2)
        return head("x", [node("Pad", ["image", "pads"], ["x"], mode=mode)], pads=pads)

    return {
        "convolution": (head("x", [node("Conv", ["image", "kernel"], ["x"])], kernel=kernel), (32, 32)),
        "pooling": (pool(kernel_shape=[24, 12], strides=[2, 2]), (24, 12)),
        "pooling rounded up": (pool(kernel_shape=[24, 12], strides=[2, 2], ceil_mode=1), (24, 12)),
        "dilated pooling": (pool(kernel_shape=[3, 3], dilations=[12, 9]), (25, 19)),
        "padded pooling": (pool("AveragePool", kernel_shape=[20, 20], pads=[3, 3, 3, 3]), (14, 14)),
        "slice": (head("x", [sliced], **corner), (21, 11)),
        "reflecting pad": (pad("reflect", 16, 9), (17, 10)),
        "cropping pad": (pad("constant", -16, -8), (33, 17)),
        "two poolings": (
            head(
                "x",
                [
                    node("MaxPool", ["image"], ["half"], kernel_shape=[7, 7], strides=[2, 2]),
                    node("MaxPool", ["half"], ["x"], kernel_shape=[5, 5], strides=[2, 2]),
                ],
            ),
            (15, 15),
        ),
    }


def tiny_graph(*, side: int | str = 8, batch: int | str = "n", softmax: bool = False) -> bytes:
    """Return a graph (batch, 3, side, side) to (batch, 4)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    height, width = (side, side) if isinstance(side, int) else ("height", "width")
    return graph_file(
        nodes,
        inputs={"image": [batch, 3, height, width]},
        outputs={"probabilities" if softmax else "logits": [batch, len(LABELS)]},
        weights={"weights": WEIGHTS, "bias": BIAS},
    )


def graph_file(
    nodes: list[onnx.NodeProto],
    *,
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    weights: dict[str, NDArray[Any]] | None = None,
    takes: int = TensorProto.FLOAT,
    gives: int = TensorProto.FLOAT,
) -> bytes:
    """Return an ONNX file; `takes` and `gives` are the element types of inputs and outputs."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, takes, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, gives, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(deterministic=True)


def toml(
    graph: bytes, *, name: str = "tiny", version: str = "1", output: str = "logits", preprocessing: str = ""
) -> str:
    """Return a `model.toml`; `preprocessing` replaces the centre crop of 8 divided by 255."""
    return "\n".join(
        [
            f'name = "{name}"',
            f'version = "{version}"',
            'licence = "CC0-1.0"',
            'source = "a test"',
            f'sha256 = "{hashlib.sha256(graph).hexdigest()}"',
            'labels = "labels.txt"',
            f'output = "{output}"',
            preprocessing or '[preprocessing]\nkind = "centre-crop"\nsize = 8\nmean = 0\nscale = 255',
            "",
        ]
    )


def write_folder(
    folder: Path,
    *,
    graph: bytes | None = None,
    labels: tuple[str, ...] = LABELS,
    name: str = "tiny",
    version: str = "1",
    output: str = "logits",
    preprocessing: str = "",
) -> Path:
    """Write a whole model folder and return it."""
    graph = tiny_graph() if graph is None else graph
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph)
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    text = toml(graph, name=name, version=version, output=output, preprocessing=preprocessing)
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


def expected_probabilities(
    images: list[NDArray[np.uint8]], *, mean: Any = 0.0, scale: Any = 255.0
) -> NDArray[np.float64]:
    """Return what the tiny graph must answer, computed in numpy."""
    colours = np.array([(image.reshape(-1, 3).mean(axis=0) - mean) / scale for image in images])
    powers = np.exp(colours @ WEIGHTS.T.astype(float) + BIAS)
    return powers / powers.sum(axis=1, keepdims=True)
