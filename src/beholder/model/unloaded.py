"""What stands for a model that cannot be loaded: its images meet the reason, those of other models go on."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from beholder.model.port import ModelSpec

__all__ = ["UnloadedClassifier"]


class UnloadedClassifier:
    """Raises why the model could not be loaded, whatever is asked of it; see the `Classifier` port.

    Args:
        error: The reason.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def spec(self) -> ModelSpec:
        """Not known."""
        self._refuse()

    @property
    def precision(self) -> str:
        """Not known."""
        self._refuse()

    def warm_up(self) -> None:
        """Refuse."""
        self._refuse()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:  # noqa: ARG002 -- the port's
        """Refuse; see `Classifier.classify`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise self._error
