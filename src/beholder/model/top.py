"""Picks the labels of an answer from the probabilities. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beholder.job import Label

__all__ = ["top_labels"]

_DIGITS = 6


def top_labels(
    probabilities: NDArray[np.float32], labels: Sequence[str], *, top_k: int, min_confidence: float
) -> tuple[Label, ...]:
    """Return the most likely labels, best first; of equally likely labels, the lower class number first.

    Args:
        probabilities: Of one image.
        labels: One text per class, by class number.
        top_k: How many labels at most, from 0.
        min_confidence: Leave out labels below this probability, 0 to 1.

    Shape:
        probabilities: (classes,) float32.
    """
    count = min(top_k, len(probabilities))
    if count <= 0:
        return ()
    # A partition finds the lowest value among the best, and is cheaper than sorting every class. All classes
    # of that value are candidates, so that ties are broken by class number.
    last = np.partition(probabilities, -count)[-count]
    candidates = np.flatnonzero(probabilities >= max(float(last), min_confidence))
    best = candidates[np.argsort(-probabilities[candidates], kind="stable")][:count]
    return tuple(
        Label(labels[index], int(index), round(float(probabilities[index]), _DIGITS)) for index in best
    )
