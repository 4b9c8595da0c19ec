"""ResNets as ONNX graphs, built from the weights of a torchvision checkpoint.

The batch normalisations are folded into the convolutions, and the pooling before the last layer takes any
size, so the graph runs images as they are. Building it needs the package onnx, and no torch.

Source:
    K. He et al., "Deep Residual Learning for Image Recognition", 2015, table 1; names, groups and widths are
    those of torchvision/models/resnet.py, 0.29.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from beholder.errors import ModelInvalid
from beholder.model.onnx_building import OnnxBuilder, State

__all__ = ["RESNETS", "Resnet", "check_resnet", "find_resnet", "resnet_onnx"]

_WIDTHS = (64, 128, 256, 512)
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# The default of torch.nn.BatchNorm2d, which a checkpoint does not hold.
_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Resnet:
    """The shape of a ResNet.

    Args:
        name: As torchvision calls it.
        depths: The blocks of each of the four stages.
        is_bottleneck: Its blocks have three convolutions and four times the channels at their ends.
        groups: Of the 3 x 3 convolutions of a bottleneck.
        group_width: Channels of a group in the first stage.
    """

    name: str
    depths: tuple[int, int, int, int]
    is_bottleneck: bool = True
    groups: int = 1
    group_width: int = 64

    @property
    def expansion(self) -> int:
        """Channels behind a block, of those that its stage is named by."""
        return 4 if self.is_bottleneck else 1

    def inner(self, width: int) -> int:
        """Return the channels inside a block of a stage."""
        return width * self.group_width // 64 * self.groups


RESNETS = {
    resnet.name: resnet
    for resnet in (
        Resnet("resnet18", (2, 2, 2, 2), is_bottleneck=False),
        Resnet("resnet34", (3, 4, 6, 3), is_bottleneck=False),
        Resnet("resnet50", (3, 4, 6, 3)),
        Resnet("resnet101", (3, 4, 23, 3)),
        Resnet("resnet152", (3, 8, 36, 3)),
        Resnet("resnext50_32x4d", (3, 4, 6, 3), groups=32, group_width=4),
        Resnet("resnext101_32x8d", (3, 4, 23, 3), groups=32, group_width=8),
        Resnet("resnext101_64x4d", (3, 4, 23, 3), groups=64, group_width=4),
        Resnet("wide_resnet50_2", (3, 4, 6, 3), group_width=128),
        Resnet("wide_resnet101_2", (3, 4, 23, 3), group_width=128),
    )
}


def find_resnet(state: State) -> Resnet | None:
    """Return the ResNet that has a checkpoint's names and shapes; None if there is none."""
    return next((resnet for resnet in RESNETS.values() if not _problems(state, resnet)), None)


def check_resnet(state: State, resnet: Resnet) -> int:
    """Check that a checkpoint holds a ResNet and return its number of classes.

    Args:
        state: The checkpoint's arrays by name.
        resnet: What it should be.

    Raises:
        ModelInvalid: Names are missing, unknown, or have another shape.
    """
    if problems := _problems(state, resnet):
        raise ModelInvalid(problems)
    return int(state["fc.bias"].shape[0])


def resnet_onnx(state: State, resnet: Resnet) -> Iterator[bytes | memoryview]:
    """Return the graph as an ONNX file in pieces: input `image`, output `logits`.

    Args:
        state: The checkpoint's arrays by name.
        resnet: What it is.

    Shape:
        image: (n, 3, height, width) float32, of any height and width.
        logits: (n, classes) float32.

    Raises:
        ModelInvalid: The checkpoint holds another network.
        ConfigError: The package onnx is not installed.
    """
    classes = check_resnet(state, resnet)
    builder = OnnxBuilder(state, epsilon=_EPSILON)
    value = builder.add("Relu", [builder.conv("conv1", "bn1", "image", stride=2, pads=[3] * 4)])
    value = builder.add("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, depth in enumerate(resnet.depths, start=1):
        for block in range(depth):
            stride = 2 if stage > 1 and block == 0 else 1
            value = _block(builder, state, resnet, f"layer{stage}.{block}", value, stride=stride)
    builder.classifier("fc", value)
    return builder.pieces(resnet.name, classes, None)


def _block(builder: OnnxBuilder, state: State, resnet: Resnet, name: str, value: str, *, stride: int) -> str:
    def conv(number: int, value: str, *, stride: int = 1, padding: int = 0, groups: int = 1) -> str:
        conv, norm = f"{name}.conv{number}", f"{name}.bn{number}"
        return builder.conv(conv, norm, value, stride=stride, pads=[padding] * 4, groups=groups)

    def relu(value: str) -> str:
        return builder.add("Relu", [value])

    if resnet.is_bottleneck:
        inner = relu(conv(2, relu(conv(1, value)), stride=stride, padding=1, groups=resnet.groups))
        inner = conv(3, inner)
    else:
        inner = conv(2, relu(conv(1, value, stride=stride, padding=1)), padding=1)
    if f"{name}.downsample.0.weight" in state:
        value = builder.conv(
            f"{name}.downsample.0", f"{name}.downsample.1", value, stride=stride, pads=[0] * 4
        )
    return relu(builder.add("Add", [inner, value]))


def _problems(state: State, resnet: Resnet) -> list[str]:
    """Return how a checkpoint differs from a ResNet's."""
    expected = _shapes(resnet)
    names = {name for name in state if not name.endswith(".num_batches_tracked")}
    problems = []
    if missing := [name for name in expected if name not in names]:
        problems.append(f"the checkpoint lacks {_some(missing)}; it is no torchvision {resnet.name}")
    if unknown := sorted(names - set(expected)):
        problems.append(f"the checkpoint also has {_some(unknown)}, which no torchvision {resnet.name} has")
    for name, shape in expected.items():
        if name not in state:
            continue
        actual = state[name].shape
        # The first axis of the last layer is the number of classes, which is the model's own.
        if actual[1:] != shape[1:] or (shape[0] > 0 and actual != shape):
            problems.append(f"{name} has shape {actual}, a {resnet.name}'s is {shape}")
    if not problems and state["fc.weight"].shape[:1] != state["fc.bias"].shape:
        problems.append("fc.weight and fc.bias differ in their number of classes")
    return problems


def _shapes(resnet: Resnet) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a ResNet; 0 stands for the number of classes."""
    width_in = _WIDTHS[0]
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (width_in, 3, 7, 7)}
    shapes |= _norm_shapes("bn1", width_in)
    for stage, (width, depth) in enumerate(zip(_WIDTHS, resnet.depths, strict=True), start=1):
        for block in range(depth):
            name, width_out = f"layer{stage}.{block}", width * resnet.expansion
            convs = _block_shapes(resnet, width_in, width)
            if width_in != width_out:
                convs["downsample.0", "downsample.1"] = (width_out, width_in, 1, 1)
            for (conv, norm), shape in convs.items():
                shapes[f"{name}.{conv}.weight"] = shape
                shapes |= _norm_shapes(f"{name}.{norm}", shape[0])
            width_in = width_out
    return shapes | {"fc.weight": (0, width_in), "fc.bias": (0,)}


def _block_shapes(
    resnet: Resnet, width_in: int, width: int
) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Return the shapes of a block's kernels, by their names and those of the normalisations behind them."""
    if not resnet.is_bottleneck:
        return {("conv1", "bn1"): (width, width_in, 3, 3), ("conv2", "bn2"): (width, width, 3, 3)}
    inner = resnet.inner(width)
    return {
        ("conv1", "bn1"): (inner, width_in, 1, 1),
        ("conv2", "bn2"): (inner, inner // resnet.groups, 3, 3),
        ("conv3", "bn3"): (width * resnet.expansion, inner, 1, 1),
    }


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in _NORM_PARTS}


def _some(names: list[str]) -> str:
    shown = 5
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
