"""Tries a model folder: loads it, times it, and reports its answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beholder.errors import BeholderError, ConfigError, JobError, RequestError
from beholder.job import Label, Options
from beholder.model.answers import warm_up_image
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.top import labels_of

__all__ = ["ModelReport", "check_model"]

_RUNS = 10
_SIDE_AS_IS = 224


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The result of trying a model.

    Args:
        spec: The model.
        classes: Their number.
        precision: What it computed in, 'fp32' or 'bf16'.
        load_s: Time to compile it and run it once.
        image_ms: Time of a run for one image, the median of ten.
        answers: The most likely labels, best first, by image; the synthetic image is called `noise`.
        failures: The errors of the images without an answer, by image.
    """

    spec: ModelSpec
    classes: int
    precision: str
    load_s: float
    image_ms: float
    answers: tuple[tuple[str, tuple[Label, ...]], ...]
    failures: tuple[tuple[str, BeholderError], ...] = ()


def check_model(
    spec: ModelSpec,
    images: Sequence[Path] = (),
    *,
    load: Callable[[ModelSpec], Classifier],
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]],
    top_k: int = 5,
    timer: Callable[[], float] = time.perf_counter,
) -> ModelReport:
    """Load a model and run it on a synthetic image and on the images given.

    Args:
        spec: The model.
        images: Image files to recognise.
        load: Returns a classifier for a model.
        prepare: From an image file's bytes to the model's input.
        top_k: How many labels to report for an image.
        timer: Returns seconds from any start.

    Raises:
        ModelInvalid: The model cannot be used.
        ConfigError: An image file cannot be read.
        JobError: The model cannot run the synthetic image.
    """
    # Read before the model is loaded, so that a wrong path is reported at once.
    files = [(str(path), _read(path)) for path in images]
    noise = _noise(spec)
    classifier = load(spec)
    started_s = timer()
    classifier.warm_up()
    load_s = timer() - started_s

    def answer(image: NDArray[np.uint8]) -> tuple[Label, ...]:
        (row,) = classifier.classify([image])
        return labels_of(row, spec, Options(top_k=top_k))

    answers = [("noise", answer(noise))]
    failures = []
    for name, data in files:
        try:
            answers.append((name, answer(prepare(data, spec.preprocessing))))
        except (RequestError, JobError) as error:
            failures.append((name, error))
    runs_s = []
    for _ in range(_RUNS):
        started_s = timer()
        classifier.classify([noise])
        runs_s.append(timer() - started_s)
    return ModelReport(
        spec=spec,
        classes=len(spec.labels),
        precision=classifier.precision,
        load_s=load_s,
        image_ms=float(np.median(runs_s)) * 1000.0,
        answers=tuple(answers),
        failures=tuple(failures),
    )


def _noise(spec: ModelSpec) -> NDArray[np.uint8]:
    taken = spec.preprocessing
    return warm_up_image(taken.size or max(_SIDE_AS_IS, taken.height_min, taken.width_min))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of an image") from error
