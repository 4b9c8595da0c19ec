"""Picks the labels of an answer from the probabilities. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beholder.job import Label, Options
from beholder.model.port import ModelSpec

__all__ = ["labels_of", "top_labels"]

_DIGITS = 6


def labels_of(probabilities: NDArray[np.float32], spec: ModelSpec, options: Options) -> tuple[Label, ...]:
    """Return the labels that a model answers with, best first.

    Args:
        probabilities: Of one image.
        spec: The model.
        options: What the caller asked for.

    Shape:
        probabilities: (classes,) float32.
    """
    return top_labels(
        probabilities,
        spec.labels,
        top_k=options.top_k,
        min_confidence=options.min_confidence,
        thresholds=spec.thresholds,
        include=options.include,
        exclude=options.exclude,
    )


def top_labels(
    probabilities: NDArray[np.float32],
    labels: Sequence[str],
    *,
    top_k: int,
    min_confidence: float,
    thresholds: Sequence[float] = (),
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
) -> tuple[Label, ...]:
    """Return the most likely labels, best first; of equally likely labels, the lower class number first.

    Args:
        probabilities: Of one image.
        labels: One text per class, by class number.
        top_k: How many labels at most, from 0.
        min_confidence: Leave out labels below this probability, 0 to 1; above 0 it takes the place of the
            thresholds.
        thresholds: The model's own, by class number; empty for none.
        include: Numbers of the classes that alone are ranked; empty for all. Confidences stay as they are.
        exclude: Numbers of the classes that are not ranked; it comes before `include`.

    Shape:
        probabilities: (classes,) float32.
    """
    classes = _ranked(len(labels), include, exclude) if include or exclude else None
    if thresholds and not min_confidence:
        is_over = probabilities >= np.asarray(thresholds, np.float32)
        classes = np.flatnonzero(is_over) if classes is None else classes[is_over[classes]]
    if classes is not None:
        probabilities = probabilities[classes]
    count = min(top_k, len(probabilities))
    if count <= 0:
        return ()
    # A partition finds the lowest value among the best, and is cheaper than sorting every class. All classes
    # of that value are candidates, so that ties are broken by class number.
    last = np.partition(probabilities, -count)[-count]
    candidates = np.flatnonzero(probabilities >= max(float(last), min_confidence))
    best = candidates[np.argsort(-probabilities[candidates], kind="stable")][:count]
    numbers = best if classes is None else classes[best]
    return tuple(
        Label(labels[number], int(number), round(float(probabilities[index]), _DIGITS))
        for number, index in zip(numbers, best, strict=True)
    )


def _ranked(count: int, include: Sequence[int], exclude: Sequence[int]) -> NDArray[np.intp]:
    """Return the numbers of the classes that are ranked, ascending."""
    is_ranked = np.full(count, not include)
    is_ranked[list(include)] = True
    is_ranked[list(exclude)] = False
    return np.flatnonzero(is_ranked)
