"""Stands in for a model that cannot be loaded: its images fail with the reason, and other models serve on."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from beholder.model.port import ModelSpec

__all__ = ["UnloadedClassifier"]


class UnloadedClassifier:
    """Raises the reason at every call; see the `Classifier` port.

    Args:
        error: Why the model could not be loaded.
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
        """Refuse."""
        self._refuse()

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:  # noqa: ARG002 -- the port's
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise self._error
