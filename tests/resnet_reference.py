"""ResNets in plain numpy, written from the paper and torchvision's names, for small images."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

State = dict[str, NDArray[np.float32]]
EPSILON = 1e-5
WIDTHS = (64, 128, 256, 512)
# Of a network that takes a fiftieth of the time, for tests of what surrounds it.
NARROW = (8, 16, 32, 64)


def random_state(
    *,
    classes: int,
    seed: int = 0,
    depths: tuple[int, ...] = (2, 2, 2, 2),
    bottleneck: tuple[int, int] | None = None,
    widths: tuple[int, ...] = WIDTHS,
) -> State:
    """Return weights under which the signal neither dies nor explodes, with lively batch norms.

    A `bottleneck` has groups of so many channels in the first stage.
    """
    random = np.random.default_rng(seed)
    state: State = {}

    def conv(name: str, width: int, width_in: int, kernel: int) -> None:
        deviation = np.sqrt(2 / (width_in * kernel * kernel))
        shape = (width, width_in, kernel, kernel)
        state[f"{name}.weight"] = (random.standard_normal(shape) * deviation).astype(np.float32)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = random.uniform(0.5, 1.0, width).astype(np.float32)
        state[f"{name}.bias"] = random.normal(0, 0.2, width).astype(np.float32)
        state[f"{name}.running_mean"] = random.normal(0, 0.2, width).astype(np.float32)
        state[f"{name}.running_var"] = random.uniform(0.5, 1.5, width).astype(np.float32)

    def layer(name: str, number: int, width: int, width_in: int, kernel: int) -> None:
        conv(f"{name}.conv{number}", width, width_in, kernel)
        norm(f"{name}.bn{number}", width)

    width_in = widths[0]
    conv("conv1", width_in, 3, 7)
    norm("bn1", width_in)
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            if bottleneck is None:
                width_out = width
                layer(name, 1, width, width_in, 3)
                layer(name, 2, width, width, 3)
            else:
                groups, group_width = bottleneck
                inner, width_out = groups * group_width * 2 ** (stage - 1), width * 4
                layer(name, 1, inner, width_in, 1)
                layer(name, 2, inner, inner // groups, 3)
                layer(name, 3, width_out, inner, 1)
            if width_in != width_out:
                conv(f"{name}.downsample.0", width_out, width_in, 1)
                norm(f"{name}.downsample.1", width_out)
            width_in = width_out
    state["fc.weight"] = (random.standard_normal((classes, width_in)) / 16).astype(np.float32)
    state["fc.bias"] = random.standard_normal(classes).astype(np.float32)
    return state


def logits(state: State, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logits of the ResNet whose weights these are; image (n, 3, height, width)."""
    value = np.maximum(norm(state, "bn1", conv(state, "conv1", image, 2, 3)), 0)
    value = windows(value, 3, 2, 1, fill=-np.inf).max(axis=(-2, -1))
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            value = residual(state, f"layer{stage}.{block}", value, 2 if stage > 1 and block == 0 else 1)
            block += 1
    return value.mean(axis=(2, 3)) @ state["fc.weight"].T.astype(float) + state["fc.bias"]


def residual(state: State, name: str, value: NDArray, stride: int) -> NDArray:
    def layer(number: int, value: NDArray, stride: int = 1, padding: int = 0) -> NDArray:
        return norm(state, f"{name}.bn{number}", conv(state, f"{name}.conv{number}", value, stride, padding))

    if f"{name}.conv3.weight" in state:
        inner = np.maximum(layer(1, value), 0)
        inner = layer(3, np.maximum(layer(2, inner, stride, 1), 0))
    else:
        inner = layer(2, np.maximum(layer(1, value, stride, 1), 0), padding=1)
    if f"{name}.downsample.0.weight" in state:
        shortcut = conv(state, f"{name}.downsample.0", value, stride, 0)
        value = norm(state, f"{name}.downsample.1", shortcut)
    return np.maximum(inner + value, 0)


def conv(state: State, name: str, value: NDArray, stride: int, padding: int) -> NDArray:
    kernel = state[f"{name}.weight"].astype(float)
    # A kernel of fewer channels than the value belongs to groups, each of its own channels.
    groups = value.shape[1] // kernel.shape[1]
    parts = zip(np.split(value, groups, axis=1), np.split(kernel, groups), strict=True)
    return np.concatenate(
        [
            np.moveaxis(
                np.tensordot(windows(part, own.shape[-1], stride, padding), own, axes=((1, 4, 5), (1, 2, 3))),
                -1,
                1,
            )
            for part, own in parts
        ],
        axis=1,
    )


def norm(state: State, name: str, value: NDArray) -> NDArray:
    scale, shift, mean, variance = (
        state[f"{name}.{part}"].astype(float)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (value - mean) / np.sqrt(variance + EPSILON) * scale + shift


def windows(value: NDArray, kernel: int, stride: int, padding: int, *, fill: float = 0.0) -> NDArray:
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(value.astype(float), edges, constant_values=fill)
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
