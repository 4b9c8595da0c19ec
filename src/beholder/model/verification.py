"""Measures a new model and compares it with the runtime that its file was written for; the report is kept.

An ONNX file's own runtime is ONNX Runtime, which an extra installs; without it the report says so.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beholder import __version__
from beholder.errors import ConfigError, JobError, ModelInvalid, RequestError
from beholder.model.extras import import_extra, is_installed
from beholder.model.folder import REPORT_FILE
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.trial import trial_images

__all__ = [
    "Photos",
    "Report",
    "check_expected",
    "compare",
    "read_report",
    "verify",
    "warm_up_timed",
    "write_report",
]

_ONNX_RUNTIME = "onnxruntime"
_RUNS = 5
_TOP = 5
# Rounding to bf16 moves a probability by a few hundredths.
_DIFFERENCE_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos to check a model on.

    Args:
        files: Their paths.
        expected: The class numbers of each, by the file's name; photos that have none of these are only run.
        prepare: From an image file's bytes to the model's input.
    """

    files: Sequence[Path]
    expected: Mapping[str, frozenset[int]]
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the answers are from those of the source's runtime.

    Args:
        runtime: Its name and version; empty if there was no comparison.
        reason: Why there was none.
        images: How many generated images were compared.
        same_label: For how many of them the first label is the same.
        difference_max: The largest difference of a probability.
    """

    runtime: str = ""
    reason: str = ""
    images: int = 0
    same_label: int = 0
    difference_max: float = 0.0


@dataclass(frozen=True, slots=True)
class PhotoCounts:
    """What became of the photos.

    Args:
        answered: How many have labels.
        failed: The error's code of each other, by the file's name.
        known: How many of the answered have an expected class.
        right_first: For how many of those one is the first label.
        right_five: For how many of those one is among the first five.
    """

    answered: int
    failed: Mapping[str, str]
    known: int
    right_first: int
    right_five: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an import measured.

    Args:
        beholder: The version that imported the model.
        graph_bytes: Size of `model.onnx`.
        classes: Their number.
        precision: What the model computed in, 'fp32' or 'bf16'.
        load_s: Time to compile it and run it once.
        image_ms: Time of a run for one image, the median of five.
        agreement: With the source's runtime.
        photos: The photos that the user gave; None if there were none.
    """

    beholder: str
    graph_bytes: int
    classes: int
    precision: str
    load_s: float
    image_ms: float
    agreement: Agreement
    photos: PhotoCounts | None

    @property
    def lines(self) -> list[str]:
        """What it says, in words."""
        said = self.agreement
        compared = (
            f"{said.same_label} of {said.images} labels as {said.runtime}, probabilities differ by "
            f"{said.difference_max:.2g} at most"
            if said.runtime
            else f"not compared: {said.reason}"
        )
        speed = f"{self.image_ms:.1f} ms an image on one thread, {self.precision}"
        lines = [
            f"{'measured':<14} {self.graph_bytes / 1e6:.1f} MB, {speed}",
            f"{'agreement':<14} {compared}",
        ]
        if self.photos is not None:
            found = self.photos
            right = f"; of {found.known} known {found.right_first} right, {found.right_five} among five"
            lines.append(f"{'photos':<14} {found.answered} answered{right if found.known else ''}")
            lines += [f"{'':<14} {name}: {code}" for name, code in found.failed.items()]
        return lines


def warm_up_timed(classifier: Classifier, timer: Callable[[], float] = time.perf_counter) -> float:
    """Load a model and run it once; return the seconds that it took."""
    started_s = timer()
    classifier.warm_up()
    return timer() - started_s


def verify(
    spec: ModelSpec,
    classifier: Classifier,
    side: int,
    *,
    load_s: float,
    photos: Photos | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Report:
    """Measure a model and run it on the user's photos; `compare` adds the agreement.

    Args:
        spec: The model.
        classifier: It, loaded.
        side: Of the images to run it on, in pixels.
        load_s: What loading took.
        photos: The user's.
        timer: Returns seconds from any start.

    Raises:
        ModelInvalid: Photos are expected to be of classes that it does not have.
        ConfigError: A photo cannot be read.
        JobError: It cannot run an image.
    """
    images = trial_images(side, side)[:1]
    runs_s = []
    for _ in range(_RUNS):
        started_s = timer()
        classifier.classify(images)
        runs_s.append(timer() - started_s)
    return Report(
        beholder=__version__,
        graph_bytes=spec.onnx_path.stat().st_size,
        classes=len(spec.labels),
        precision=classifier.precision,
        load_s=round(load_s, 3),
        image_ms=round(float(np.median(runs_s)) * 1000, 2),
        agreement=Agreement(),
        photos=_run_photos(spec, classifier, photos) if photos is not None else None,
    )


def write_report(folder: Path, report: Report) -> None:
    """Keep a report in a model folder; raises OSError if it cannot be written."""
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def read_report(folder: Path) -> dict[str, object] | None:
    """Return what a model folder's report says; None if it has none that can be read."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def compare(spec: ModelSpec, side: int, found: NDArray[np.float32]) -> Agreement:
    """Compare a model's answers with those of ONNX Runtime, if that is installed.

    Args:
        spec: The model.
        side: Of the trial images, in pixels.
        found: Its answers to the trial images of that side.

    Raises:
        ModelInvalid: They differ by more than rounding explains.
    """
    if not is_installed(_ONNX_RUNTIME):
        return Agreement(reason="ONNX Runtime is not installed")
    try:
        # One by one: eight images at once take more memory than most models.
        expected = OnnxRuntimeClassifier(spec, batch_max=1).classify(trial_images(side, side))
    except (ModelInvalid, JobError) as error:
        reason = error.message.removeprefix(f"{spec.onnx_path}: ")
        return Agreement(reason=f"ONNX Runtime cannot run it ({reason})")
    difference = float(np.abs(found - expected).max())
    if difference > _DIFFERENCE_MAX:
        raise ModelInvalid(
            f"{spec.onnx_path}: OpenVINO answers otherwise than ONNX Runtime, by {difference:.2g}; export "
            "the graph in float32, with another opset"
        )
    return Agreement(
        runtime=f"ONNX Runtime {import_extra(_ONNX_RUNTIME, _ONNX_RUNTIME).__version__}",
        images=len(found),
        same_label=int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        difference_max=round(difference, 6),
    )


def check_expected(spec: ModelSpec, photos: Photos) -> None:
    """Refuse photos of classes that a model does not have; raises ModelInvalid, which names one."""
    classes = len(spec.labels)
    for name, shown in sorted(photos.expected.items()):
        if beyond := [index for index in shown if not 0 <= index < classes]:
            raise ModelInvalid(
                f"{spec.onnx_path} has {classes} classes, and an expected class of {name} is number "
                f"{beyond[0]}; give the file that belongs to the model"
            )


def _run_photos(spec: ModelSpec, classifier: Classifier, photos: Photos) -> PhotoCounts:
    check_expected(spec, photos)
    failed: dict[str, str] = {}
    ranks: list[int] = []
    for path in photos.files:
        try:
            image = photos.prepare(path.read_bytes(), spec.preprocessing)
            best_first = classifier.classify([image])[0].argsort()[::-1].tolist()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; make it readable") from error
        except (RequestError, JobError) as error:
            failed[path.name] = error.code
            continue
        if shown := photos.expected.get(path.name):
            ranks.append(min(best_first.index(one) for one in shown))
    return PhotoCounts(
        answered=len(photos.files) - len(failed),
        failed=failed,
        known=len(ranks),
        right_first=sum(rank == 0 for rank in ranks),
        right_five=sum(rank < _TOP for rank in ranks),
    )
