"""Checks the values that a run of a model gives."""

import numpy as np
from numpy.typing import NDArray

from beholder.errors import InferenceFailed
from beholder.model.port import ModelSpec

__all__ = ["at_temperature", "check_answers", "warm_up_image"]

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
        InferenceFailed: A value is not a number, or the values of an image do not add up to 1.
    """
    if not np.isfinite(probabilities).all():
        raise InferenceFailed("the model answers with values that are no numbers (NaN or infinite)")
    sums = probabilities.sum(axis=1)
    if probabilities.min() < -_SUM_TOLERANCE or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        declared = '; model.toml says output = "probabilities"' if spec.outputs_probabilities else ""
        raise InferenceFailed(
            f"the model answers with values that are no probabilities: they add up to {sums[0]:.3g}{declared}"
        )


def at_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities that the logits would give if they were divided by a temperature.

    Args:
        probabilities: Of each image, at the temperature 1.
        temperature: Above 1 it makes them more alike, below 1 less; their order stays.

    Shape:
        probabilities: (images, classes) float32.
    """
    if temperature == 1.0:
        return probabilities
    # The largest becomes 1, so that not all powers are too small for a float32.
    shares = np.maximum(probabilities, 0.0) / probabilities.max(axis=1, keepdims=True)
    powers = shares ** np.float32(1.0 / temperature)
    tempered: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return tempered


def warm_up_image(side: int) -> NDArray[np.uint8]:
    """Return noise, always the same; on a single colour, a model that divides by the deviation would fail."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
