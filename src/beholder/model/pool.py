"""Several classifiers of one model as one, so that several batches run at the same time."""

import contextlib
import queue
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from beholder.model.port import Classifier, ModelSpec

__all__ = ["ClassifierPool"]


class ClassifierPool:
    """Hands each batch to a free classifier, and waits for one if need be; see the `Classifier` port.

    Args:
        classifiers: Of the same model, at least one. Each is used by one thread at a time.
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self._classifiers = tuple(classifiers)
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        for one in classifiers:
            self._free.put(one)

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
        for one in self._classifiers:
            one.warm_up()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.classify`."""
        with self._borrowed() as classifier:
            return classifier.classify(images)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Classifier]:
        classifier = self._free.get()
        try:
            yield classifier
        finally:
            self._free.put(classifier)
