"""The model port: a classifier turns a batch of prepared images into probabilities.

The web tier and the supervisor read models' descriptions too, so numpy, 20 MB in each process, is imported
for type checkers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from beholder.job.reference import reference_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EMBEDDING_SIZE_MAX", "Classifier", "ModelSpec", "Preprocessing", "PreprocessingKind"]

EMBEDDING_SIZE_MAX = 8192
"""Values of an embedding, at most; a job with so many has 100 kB. Real ones have a few hundred to 4,096."""


class PreprocessingKind(StrEnum):
    """How an image's pixels become the model's input."""

    CENTRE_CROP = "centre-crop"
    STRETCH = "stretch"
    AS_IS = "as-is"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From pixels to the model's input.

    Args:
        kind: `centre-crop` cuts a centred square and scales it to `size`; `stretch` cuts a centred part of
            the image's own shape and scales it to that square; `as-is` leaves the image as it is.
        size: Side of the model's input in pixels; None for `as-is`.
        crop_fraction: Side of the centred square as a fraction of the shorter side; for `stretch` the sides
            of the part as a fraction of the image's.
        mean: Subtracted from each of red, green and blue (0 to 255); the classifier does it.
        scale: What the difference is divided by, for red, green and blue; the classifier does it.
        height_min: Pixels; a lower image is refused (`as-is` only).
        width_min: Pixels; a narrower image is refused (`as-is` only).
    """

    kind: PreprocessingKind = PreprocessingKind.CENTRE_CROP
    size: int | None = 224
    crop_fraction: float = 0.875
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (255.0, 255.0, 255.0)
    height_min: int = 1
    width_min: int = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model folder says of its model, checked.

    Args:
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence.
        source: Where the weights come from.
        sha256: Of `model.onnx`, in hex; checked when the folder is read.
        onnx_path: The graph with its weights: one input (n, 3, height, width) or (n, height, width, 3), one
            output (n, classes).
        labels: One text per class, by class number.
        outputs_probabilities: The graph ends in the softmax, or the sigmoid of a multi-label model; otherwise
            the classifier adds it.
        preprocessing: From pixels to the input.
        temperature: What the logits are divided by before the softmax or the sigmoid.
        thresholds: The probability from which a multi-label model gives a label, by class number; empty for a
            model whose classes exclude each other.
        embedding: The tensor of the graph that is an image's embedding; empty if the model gives none.
        embedding_size: How many values an embedding has; 0 for none.
    """

    name: str
    version: str
    licence: str
    source: str
    sha256: str
    onnx_path: Path
    labels: tuple[str, ...]
    outputs_probabilities: bool
    preprocessing: Preprocessing
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    embedding: str = ""
    embedding_size: int = 0

    @property
    def is_multi_label(self) -> bool:
        """Whether each class has a probability of its own, so that an image may show several or none."""
        return bool(self.thresholds)

    @property
    def reference(self) -> str:
        """Its name and version, as requests and messages name both."""
        return reference_of(self.name, self.version)


class Classifier(Protocol):
    """A model that is ready to run; one thread at a time calls it."""

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        ...

    @property
    def precision(self) -> str:
        """The precision it computes in: 'fp32' or 'bf16'."""
        ...

    def warm_up(self) -> None:
        """Compile every batch shape and run each once, so that the first image does not wait for it."""
        ...

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the probabilities of a batch.

        Args:
            images: At least one image, each as the preprocessing left it. Images of the same size run
                together; sizes may differ only for an `as-is` model.

        Shape:
            images: (height, width, 3) uint8, RGB, each.
            returns: (len(images), classes) float32; each row sums to 1, but for a multi-label model.

        Raises:
            JobError: An image cannot be run, or has no usable answer. To find out which, run each alone.
        """
        ...

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the embeddings of a batch, each of length 1, or of zeros alone.

        Args:
            images: As for `classify`.

        Shape:
            images: (height, width, 3) uint8, RGB, each.
            returns: (len(images), embedding_size) float32.

        Raises:
            JobError: The model gives none, or an image cannot be run or has no usable one.
        """
        ...
