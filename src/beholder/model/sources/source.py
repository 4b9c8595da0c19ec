"""A model as its files and the user's options describe it, before it is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from beholder.model.port import Preprocessing

__all__ = ["Description", "Known", "Source", "completed", "output_of"]


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a model: by the user's options, and where they are silent by its files.

    Args:
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence; empty takes what the source says, or 'unknown'.
        source: Where the weights come from; empty takes the file's name.
        labels: A file with one class name per line; None takes the names that the source holds.
        has_background: The graph's first class is the background, which the labels leave out.
        output: The output that has the classes, of a graph with several; None takes the only one.
        outputs_probabilities: The graph ends in a softmax, or in a multi-label model's sigmoid; None runs the
            graph to find out.
        preprocessing: From pixels to the graph's input; None takes what the source says, or raw pixels if the
            graph takes uint8.
        size: Side of the input in pixels; None takes what the source says, or the graph's own.
        arch: The architecture of a checkpoint; None takes what the source says.
        thresholds: The probability from which a multi-label model gives a label, one for all or one for each
            class; empty takes what the source says.
        embedding: The tensor of the graph that is an image's embedding; empty for none.
        embedding_size: How many values it has; the import finds out.
    """

    name: str
    version: str = "1"
    licence: str = ""
    source: str = ""
    labels: Path | None = None
    has_background: bool = False
    output: str | None = None
    outputs_probabilities: bool | None = None
    preprocessing: Preprocessing | None = None
    size: int | None = None
    arch: str | None = None
    thresholds: tuple[float, ...] = ()
    embedding: str = ""
    embedding_size: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What files beside an ONNX file, or its metadata, say of it.

    Args:
        where: The file, or the metadata, that says so.
        form: What the model is, in words; such as 'ultralytics classifier'.
        labels: The names of the classes; None if it holds none.
        preprocessing: From pixels to the input; None if it does not say.
        preprocessing_from: Where that stands; empty for `where`.
        licence: Of the weights; empty if it does not say.
        thresholds: Of a multi-label model; empty for others.
    """

    where: str
    form: str
    labels: Sequence[str] | None = None
    preprocessing: Preprocessing | None = None
    preprocessing_from: str = ""
    licence: str = ""
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A model that was read and not yet run.

    Args:
        file: The user's file that messages name.
        form: What it is, in words, such as 'ONNX, opset 17, by pytorch 2.9.0'.
        graph: An ONNX file in pieces, its weights inside; they are written once.
        labels: One name per class, by class number.
        labels_from: Where the labels stand, for messages.
        description: What user and files say together.
        preprocessing_from: What the preprocessing was taken from, for messages.
    """

    file: Path
    form: str
    graph: Iterable[memoryview | bytes]
    labels: tuple[str, ...]
    labels_from: str
    description: Description
    preprocessing_from: str = "the options"


def completed(description: Description, known: Known, *, source: str) -> tuple[Description, str]:
    """Return what user and files say together, and what the preprocessing was taken from.

    Args:
        description: What the user says, which counts first.
        known: What the files say.
        source: Where the weights come from, if the user does not say it.
    """
    is_users = description.preprocessing is not None or known.preprocessing is None
    taken = description.preprocessing if is_users else known.preprocessing
    whole = replace(
        description,
        licence=description.licence or known.licence or "unknown",
        source=description.source or source,
        preprocessing=taken,
        thresholds=description.thresholds or known.thresholds,
        # The graph's own size counts before that of torchvision's preprocessing, which an option names.
        size=description.size or (taken.size if taken is not None and not is_users else None),
    )
    return whole, "the options" if description.preprocessing else known.preprocessing_from or known.where


def output_of(description: Description) -> str:
    """Return what the graph gives, as `model.toml` calls it."""
    if description.thresholds:
        return "sigmoid" if description.outputs_probabilities else "sigmoid-logits"
    return "probabilities" if description.outputs_probabilities else "logits"
