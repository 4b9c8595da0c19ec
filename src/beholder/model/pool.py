"""Several classifiers of a model behind one, so that several batches run at the same time."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from beholder.model.port import Classifier, ModelSpec

__all__ = ["ClassifierPool"]


class ClassifierPool:
    """Hands each batch to a free classifier, once there is one; see the `Classifier` port.

    Args:
        classifiers: At least one, all of the same model. Each is used by one thread at a time.
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self._classifiers = tuple(classifiers)
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        for classifier in classifiers:
            self._free.put(classifier)

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        return self._classifiers[0].spec

    @property
    def precision(self) -> str:
        """The precision it computes in: 'fp32' or 'bf16'."""
        return self._classifiers[0].precision

    def warm_up(self) -> None:
        """Make every classifier ready."""
        for classifier in self._classifiers:
            classifier.warm_up()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.classify`."""
        with self._taken() as classifier:
            return classifier.classify(images)

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.embed`."""
        with self._taken() as classifier:
            return classifier.embed(images)

    @contextmanager
    def _taken(self) -> Iterator[Classifier]:
        classifier = self._free.get()
        try:
            yield classifier
        finally:
            self._free.put(classifier)
