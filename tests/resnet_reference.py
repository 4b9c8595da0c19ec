"""A ResNet-18 in plain numpy, written from the paper and torchvision's names, for small images."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

State = dict[str, NDArray[np.float32]]
EPSILON = 1e-5
WIDTHS = (64, 128, 256, 512)


def random_state(*, classes: int, seed: int = 0) -> State:
    """Return weights under which the signal neither dies nor explodes, with lively batch norms."""
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

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    width_in = 64
    for stage, width in enumerate(WIDTHS, start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, width_in, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if width != width_in:
                conv(f"{name}.downsample.0", width, width_in, 1)
                norm(f"{name}.downsample.1", width)
            width_in = width
    state["fc.weight"] = (random.standard_normal((classes, 512)) / 16).astype(np.float32)
    state["fc.bias"] = random.standard_normal(classes).astype(np.float32)
    return state


def resnet18(state: State, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logits; image (n, 3, height, width)."""
    value = np.maximum(norm(state, "bn1", conv(state, "conv1", image, 2, 3)), 0)
    value = windows(value, 3, 2, 1, fill=-np.inf).max(axis=(-2, -1))
    for stage in range(1, 5):
        for block in range(2):
            value = residual(state, f"layer{stage}.{block}", value, 2 if stage > 1 and block == 0 else 1)
    return value.mean(axis=(2, 3)) @ state["fc.weight"].T.astype(float) + state["fc.bias"]


def residual(state: State, name: str, value: NDArray, stride: int) -> NDArray:
    inner = np.maximum(norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", value, stride, 1)), 0)
    inner = norm(state, f"{name}.bn2", conv(state, f"{name}.conv2", inner, 1, 1))
    if f"{name}.downsample.0.weight" in state:
        shortcut = conv(state, f"{name}.downsample.0", value, stride, 0)
        value = norm(state, f"{name}.downsample.1", shortcut)
    return np.maximum(inner + value, 0)


def conv(state: State, name: str, value: NDArray, stride: int, padding: int) -> NDArray:
    kernel = state[f"{name}.weight"].astype(float)
    patches = windows(value, kernel.shape[-1], stride, padding)
    return np.moveaxis(np.tensordot(patches, kernel, axes=((1, 4, 5), (1, 2, 3))), -1, 1)


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
