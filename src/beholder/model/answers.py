"""Checks the values that a run of a model gives."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from beholder.errors import InferenceFailed
from beholder.model.port import ModelSpec

__all__ = ["at_temperature", "check_answers", "end_of", "tempered", "warm_up_image"]

# A softmax in bf16 has 8 bits of each value, so 1,000 of them add up to 1 within a few thousandths.
_SUM_TOLERANCE = 0.05


def check_answers(probabilities: NDArray[np.float32], spec: ModelSpec) -> None:
    """Refuse values that are not probabilities.

    Args:
        probabilities: Of the images of one run.
        spec: The model that ran.

    Shape:
        probabilities: (images, classes) float32.

    Raises:
        InferenceFailed: A value is not a number or not from 0 to 1, or the values of an image do not add up
            to 1 although its classes exclude each other.
    """
    if not np.isfinite(probabilities).all():
        raise InferenceFailed("the model answers with values that are no numbers (NaN or infinite)")
    declared = '; model.toml says output = "{}"'
    if spec.is_multi_label:
        low, high = float(probabilities.min()), float(probabilities.max())
        if low < -_SUM_TOLERANCE or high > 1 + _SUM_TOLERANCE:
            raise InferenceFailed(
                f"the model answers with values that are no probabilities: they are from {low:.3g} to "
                f"{high:.3g}{declared.format('sigmoid') if spec.outputs_probabilities else ''}"
            )
        return
    sums = probabilities.sum(axis=1)
    if probabilities.min() < -_SUM_TOLERANCE or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise InferenceFailed(
            f"the model answers with values that are no probabilities: they add up to {sums[0]:.3g}"
            f"{declared.format('probabilities') if spec.outputs_probabilities else ''}"
        )


def end_of(spec: ModelSpec) -> Literal["", "softmax", "sigmoid"]:
    """Return what a runtime adds at the end of a model's graph."""
    if spec.outputs_probabilities:
        return ""
    return "sigmoid" if spec.is_multi_label else "softmax"


def tempered(probabilities: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return the probabilities of a model at its temperature."""
    return at_temperature(probabilities, spec.temperature, is_multi_label=spec.is_multi_label)


def at_temperature(
    probabilities: NDArray[np.float32], temperature: float, *, is_multi_label: bool = False
) -> NDArray[np.float32]:
    """Return the probabilities that the logits would give if they were divided by a temperature.

    Args:
        probabilities: Of each image, at the temperature 1.
        temperature: Above 1 it makes them more alike, below 1 less; their order stays.
        is_multi_label: Whether each is a sigmoid by itself, and not part of a softmax.

    Shape:
        probabilities: (images, classes) float32.
    """
    if temperature == 1.0:
        return probabilities
    if is_multi_label:
        shares = np.clip(probabilities, 0.0, 1.0).astype(np.float64)
        yes, no = (side ** (1.0 / temperature) for side in (shares, 1.0 - shares))
        own: NDArray[np.float32] = (yes / (yes + no)).astype(np.float32)
        return own
    # The largest becomes 1, so that not all powers are too small for a float32.
    shares = np.maximum(probabilities, 0.0) / probabilities.max(axis=1, keepdims=True)
    powers = shares ** np.float32(1.0 / temperature)
    tempered: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return tempered


def warm_up_image(side: int) -> NDArray[np.uint8]:
    """Return noise, always the same; on a single colour, a model that divides by the deviation would fail."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
