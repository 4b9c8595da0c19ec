"""Runs a graph on a few images to find out what `model.toml` must say of it.

What the user declares is refused if the graph contradicts it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from beholder.errors import JobError, ModelInvalid
from beholder.model.graph import RAW, Graph, smallest_side
from beholder.model.openvino_core import compile_model, first_line
from beholder.model.port import Classifier, Preprocessing
from beholder.model.preprocessing_table import TORCHVISION

__all__ = ["find_output", "find_preprocessing", "find_smallest", "trial_images", "try_batches"]

_TINTS = ((230, 30, 30), (30, 220, 40), (30, 40, 240), (25, 20, 30), (235, 240, 225))
_BLOCKS = 8
_SUM_TOLERANCE = 0.01
_PERCENT = 100.0
# In bf16 an image's answer may differ by rounding if other images run beside it.
_BATCH_TOLERANCE = 0.05


def find_preprocessing(graph: Graph, asked: Preprocessing | None, size: int | None) -> Preprocessing:
    """Return how an image becomes the graph's input.

    Args:
        graph: The graph.
        asked: What the user or the model's files say, or None; a graph of uint8 gets raw pixels.
        size: The side that they say; None for the graph's own or, failing that, torchvision's.

    Raises:
        ModelInvalid: The graph takes another input, or something is not said that it does not tell.
    """
    if asked is None and graph.element != "uint8":
        raise ModelInvalid(
            f"{graph.where}: the graph does not say how its training made numbers of pixels; give "
            "--preprocessing torchvision (ImageNet's mean and deviation), as-is (pixels / 255), or "
            "centre-crop or stretch with --mean and --scale"
        )
    wanted = asked or Preprocessing()
    if graph.element == "uint8":
        default = Preprocessing()
        if (wanted.mean, wanted.scale) not in (RAW, (default.mean, default.scale)):
            raise ModelInvalid(
                f"{graph.where}: the graph takes uint8 and normalises by itself; leave out mean and scale, "
                "and torchvision's preprocessing"
            )
        wanted = replace(wanted, mean=RAW[0], scale=RAW[1])
    if wanted.size is None:
        if size is not None:
            raise ModelInvalid(f"{graph.where}: as-is leaves an image at its size; leave out --size")
        graph.check_takes_any_size()
        return wanted
    if (size or graph.side) is None and wanted != TORCHVISION:
        raise ModelInvalid(
            f"{graph.where}: the graph takes images of any size; give the side that it was trained with by "
            "--size"
        )
    side = size or graph.side or wanted.size
    graph.check_side(side)
    return replace(wanted, size=side)


def find_output(
    graph: Graph, preprocessing: Preprocessing, *, declared: bool | None, is_multi_label: bool = False
) -> bool:
    """Say whether the graph gives probabilities; otherwise it gives logits.

    Args:
        graph: Runs on a few images.
        preprocessing: From pixels to its input.
        declared: What the user declared, or None.
        is_multi_label: Whether each class has a probability of its own.

    Raises:
        ModelInvalid: The graph contradicts the user, or its values are not a classifier's.
    """
    rows = _answers(graph, preprocessing)
    problem = _useless(rows)
    gives = False
    if not problem:
        gives, problem = (_own_shares if is_multi_label else _shares)(graph, rows, declared=declared)
    if problem:
        raise ModelInvalid(f"{graph.where}: {problem}")
    return gives


def _useless(rows: NDArray[np.float32]) -> str:
    """Return what is wrong with values of any kind; empty if nothing is."""
    if not np.isfinite(rows).all():
        return "the graph answers with NaN or infinite values; export it again, in float32 if it is float16"
    if np.allclose(rows, rows[0], rtol=1e-6, atol=0.0):
        return "the graph gives the same answer to five different images; export it with its weights"
    return ""


def _shares(graph: Graph, rows: NDArray[np.float32], *, declared: bool | None) -> tuple[bool, str]:
    """Say whether values are probabilities of classes that exclude each other, and what is wrong."""
    sums = rows.sum(axis=1)
    is_positive = bool(rows.min() >= -_SUM_TOLERANCE)
    problem = ""
    if is_positive and np.abs(sums - 1.0).max() < _SUM_TOLERANCE:
        if declared is not False:
            return True, ""
        problem = "the graph gives probabilities, which add up to 1, and not logits; leave out --logits"
    elif declared:
        problem = (
            f"the values of the graph add up to {sums.min():.3g} to {sums.max():.3g}, so they are no "
            "probabilities; leave out --probabilities"
        )
    elif graph.last_operation == "Softmax":
        problem = "the softmax at the end of the graph does not run over the classes; export it without"
    elif graph.ends_in_sigmoid:
        problem = (
            "the graph ends in a sigmoid, so an image may be of several classes; give --threshold, the "
            "probability from which a label counts, or export the graph without the sigmoid if its classes "
            "exclude each other"
        )
    elif is_positive and np.abs(sums - _PERCENT).max() < _SUM_TOLERANCE * _PERCENT:
        problem = "the graph gives percentages, which add up to 100; export it with values from 0 to 1"
    return False, problem


def _own_shares(graph: Graph, rows: NDArray[np.float32], *, declared: bool | None) -> tuple[bool, str]:
    """Say whether values are a probability of each class by itself, and what is wrong with them."""
    low, high = float(rows.min()), float(rows.max())
    is_share = low >= -_SUM_TOLERANCE and high <= 1 + _SUM_TOLERANCE
    problem = ""
    if graph.last_operation == "Softmax":
        problem = "the graph ends in a softmax, so its classes exclude each other; leave out --threshold"
    elif graph.ends_in_sigmoid:
        if declared is not False:
            return True, ""
        problem = "the graph ends in a sigmoid and does not give logits; leave out --logits"
    elif declared and not is_share:
        problem = (
            f"the values of the graph are from {low:.3g} to {high:.3g}, so they are no probabilities; leave "
            "out --probabilities"
        )
    elif declared is None and graph.classes == 1:
        problem = (
            "the graph gives one value and does not end in a sigmoid; a regression is not served: give "
            "--logits if the sigmoid of the value is a probability"
        )
    elif declared is None and is_share:
        problem = (
            "the values of the graph for five images are from 0 to 1, and it does not end in a sigmoid; say "
            "what they are by --probabilities or --logits"
        )
    return bool(declared), problem


def find_smallest(classifier: Classifier, works: int) -> tuple[int, int]:
    """Return the smallest height and width that a classifier runs, found by running it.

    Args:
        classifier: Of a model that takes any size.
        works: A side that it can run.
    """

    def runs(height: int, width: int) -> bool:
        try:
            classifier.classify([trial_images(height, width)[0]])
        except JobError:
            return False
        return True

    height = smallest_side(works, lambda side: runs(side, works))
    width = smallest_side(works, lambda side: runs(works, side))
    # Height and width may each be enough beside a long side, and too little together.
    return (height, width) if runs(height, width) else (works, works)


def try_batches(classifier: Classifier, side: int, where: str) -> None:
    """Refuse a model whose answer to an image depends on the other images of the batch.

    Raises:
        ModelInvalid: The answers to a batch differ from those to single images.
        JobError: The model cannot run an image of this side.
    """
    images = trial_images(side, side)
    for run in (classifier.classify, *([classifier.embed] if classifier.spec.embedding else [])):
        together = run(images)
        alone = np.concatenate([run([image]) for image in images])
        if np.abs(together - alone).max() > _BATCH_TOLERANCE:
            raise ModelInvalid(
                f"{where}: the answer to an image changes with the images beside it in a batch; export the "
                "graph for inference, with every layer (a softmax above all) working on each image by itself"
            )


def _answers(graph: Graph, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the graph's own values, in float32, for a few images."""
    side = preprocessing.size or graph.reference
    model = graph.with_ends(replace(preprocessing, size=side), batch_size=1, end="")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    try:
        request = compile_model(model, settings).create_infer_request()
        rows = [request.infer(image[np.newaxis])[0].copy() for image in trial_images(side, side)]
    except RuntimeError as error:
        raise ModelInvalid(f"{graph.where}: OpenVINO cannot run this graph: {first_line(error)}") from error
    return np.concatenate(rows)


def trial_images(height: int, width: int) -> Sequence[NDArray[np.uint8]]:
    """Return five images of blocks in different colours and brightness, the same every time."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:height, 0:width]
    images = []
    for tint in _TINTS:
        blocks = random.integers(0, 256, (_BLOCKS, _BLOCKS, 3))
        pixels = blocks[rows * _BLOCKS // height, columns * _BLOCKS // width]
        images.append(((pixels + 2 * np.array(tint)) // 3).astype(np.uint8))
    return images
