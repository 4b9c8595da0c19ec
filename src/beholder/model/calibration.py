"""Makes a model's confidences mean what they say: a temperature, found on labelled photos.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017, sections 2 and 4.2.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, JobError, ModelInvalid, RequestError
from beholder.model.answers import at_temperature
from beholder.model.folder import MODEL_FILE
from beholder.model.port import Classifier, ModelSpec
from beholder.model.verification import Photos, check_expected

__all__ = ["Calibration", "calibrate_model", "calibration_error", "find_temperature"]

_BINS = 15
# Fewer say nothing about a probability.
_PHOTOS_MIN = 20
# Bounds of the temperature's logarithm, and how well it is found. Where all photos are right, the lowest is.
_LOG_MIN, _LOG_MAX, _TOLERANCE = -1.6, 1.6, 1e-4
_LEAST = 1e-12
_ENTRY = re.compile(r"^temperature\s*=.*\n", re.MULTILINE)
_TABLE = re.compile(r"^\[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found.

    Args:
        photos: How many photos it rests on.
        before: The temperature as it was.
        after: The temperature as it is now.
        error_before: Expected calibration error at the earlier temperature, 0 to 1.
        error_after: At the new one, on the same photos.
    """

    photos: int
    before: float
    after: float
    error_before: float
    error_after: float


def calibrate_model(
    spec: ModelSpec, photos: Photos, *, load: Callable[[ModelSpec], Classifier]
) -> Calibration:
    """Find a model's temperature and write it into its `model.toml`.

    Args:
        spec: The model.
        photos: With their classes.
        load: Returns a classifier.

    Raises:
        ConfigError: Too few photos have a class, one cannot be read, or the folder cannot be written.
        ModelInvalid: The model cannot run them, or has not their classes.
    """
    rows, classes, count = _answers(load(replace(spec, temperature=1.0)), photos)
    temperature = find_temperature(rows, classes)
    _write(spec, temperature)
    before, after = (
        calibration_error(at_temperature(rows, value), classes) for value in (spec.temperature, temperature)
    )
    return Calibration(count, spec.temperature, temperature, before, after)


def calibration_error(probabilities: NDArray[np.float32], classes: NDArray[np.intp]) -> float:
    """Return the expected calibration error: how far confidences are from the share of right answers.

    Args:
        probabilities: Of each photo.
        classes: What each photo shows.

    Shape:
        probabilities: (photos, classes) float32.
        classes: (photos,) intp.
    """
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float((confidence - is_right)[bins == number].sum())) for number in range(_BINS)]
    return sum(gaps) / len(classes)


def find_temperature(probabilities: NDArray[np.float32], classes: NDArray[np.intp]) -> float:
    """Return the temperature at which the right classes are most likely, to three digits.

    Args:
        probabilities: Of each photo, at the temperature 1.
        classes: What each photo shows.

    Shape:
        probabilities: (photos, classes) float32.
        classes: (photos,) intp.
    """
    logs = np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
    right = logs[np.arange(len(classes)), classes]

    def loss(temperature: float) -> float:
        powers = logs / temperature
        top = powers.max(axis=1)
        sums = np.log(np.exp(powers - top[:, None]).sum(axis=1)) + top
        return float((sums - right / temperature).mean())

    low, high = _LOG_MIN, _LOG_MAX
    # The loss has one minimum, so each step leaves out the third that has it not.
    while high - low > _TOLERANCE:
        left, other = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, other) if loss(float(np.exp(left))) < loss(float(np.exp(other))) else (left, high)
    return float(f"{np.exp((low + high) / 2):.3g}")


def _answers(classifier: Classifier, photos: Photos) -> tuple[NDArray[np.float32], NDArray[np.intp], int]:
    """Return the model's answers to the photos whose class is known, the classes, and how many photos.

    Of a multi-label model each label of each photo is an answer of two classes: not shown, and shown.
    """
    spec = classifier.spec
    check_expected(spec, photos)
    rows: list[NDArray[np.float32]] = []
    shown = []
    for path in photos.files:
        if path.name not in photos.expected:
            continue
        if not spec.is_multi_label:
            _check_single(path.name, photos)
        try:
            image = photos.prepare(path.read_bytes(), spec.preprocessing)
            rows.append(classifier.classify([image])[0])
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; make it readable") from error
        except (RequestError, JobError):
            continue
        shown.append(photos.expected[path.name])
    if len(shown) < _PHOTOS_MIN:
        raise ConfigError(
            f"{len(shown)} photos have a class and an answer; give at least {_PHOTOS_MIN}, which the model "
            "was not trained on"
        )
    if not spec.is_multi_label:
        return np.stack(rows), np.array([next(iter(one)) for one in shown], np.intp), len(shown)
    own = np.stack(rows).ravel()
    is_shown = [label in one for one in shown for label in range(len(spec.labels))]
    return np.stack([1 - own, own], axis=1), np.array(is_shown, np.intp), len(shown)


def _check_single(name: str, photos: Photos) -> None:
    """Refuse a photo of several classes for a model whose classes exclude each other."""
    if (count := len(photos.expected[name])) != 1:
        raise ConfigError(
            f"{name} has {count} classes, and the model's exclude each other; give one for each photo"
        )


def _write(spec: ModelSpec, temperature: float) -> None:
    """Set the temperature in `model.toml`, and leave the rest as its author wrote it."""
    path = spec.onnx_path.parent / MODEL_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = _TABLE.search(text)
        head, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
        head = _ENTRY.sub("", f"{head.rstrip()}\n")
        new = f"{head}temperature = {temperature!r}\n" + (f"\n{rest}" if rest else "")
        if tomllib.loads(new) != tomllib.loads(text) | {"temperature": temperature}:
            raise ModelInvalid(f"{path} cannot be changed here; write in it: temperature = {temperature!r}")
        part = path.with_name(f".{MODEL_FILE}.part")
        part.write_text(new, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make its folder writable") from error
