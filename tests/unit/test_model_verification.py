"""What an import measures of a new model, and the report that stays in its folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.errors import ConfigError, ImageUndecodable, ModelInvalid
from beholder.model import verification
from beholder.model.folder import read_model
from beholder.model.importing import import_model
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.sources.source import Description
from beholder.model.trial import trial_images
from beholder.model.verification import Agreement, Photos, Report, compare, read_report, verify
from tiny_models import LABELS, tiny_graph, write_folder

pytestmark = pytest.mark.pure

COLOURS = {"red.jpg": (255, 0, 0), "green.jpg": (0, 255, 0), "blue.jpg": (0, 0, 255)}


class Fixed:
    """A classifier that answers every image with the same probabilities."""

    precision = "fp32"

    def __init__(self, spec: ModelSpec, *row: float) -> None:
        self.spec = spec
        self.row = row

    def warm_up(self) -> None: ...

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.array([self.row] * len(images), np.float32)


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return read_model(write_folder(tmp_path / "tiny"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        (folder / name).write_bytes(bytes(colour))
    return sorted(folder.iterdir())


def prepare(data: bytes, _: Preprocessing) -> NDArray[np.uint8]:
    if not data:
        raise ImageUndecodable
    return np.full((8, 8, 3), tuple(data), np.uint8)


def report_of(spec: ModelSpec, classifier: Classifier | None = None, **options: Any) -> Report:
    ticks = iter(range(1000))
    classifier = classifier or OpenVinoClassifier(spec)
    return verify(spec, classifier, 8, load_s=0.25, timer=lambda: float(next(ticks)), **options)


def agreement_of(spec: ModelSpec, classifier: Classifier | None = None) -> Agreement:
    classifier = classifier or OpenVinoClassifier(spec)
    return compare(spec, 8, classifier.classify(trial_images(8, 8)))


def test_a_model_is_measured_and_compared_with_onnx_runtime(spec: ModelSpec) -> None:
    report = replace(report_of(spec), agreement=agreement_of(spec))

    assert (report.graph_bytes, report.classes) == (len(tiny_graph()), 4)
    assert (report.load_s, report.image_ms) == (0.25, 1000.0)
    assert report.agreement.runtime.startswith("ONNX Runtime 1.")
    assert (report.agreement.images, report.agreement.same_label) == (5, 5)
    assert report.agreement.difference_max < 0.05
    assert report.lines[1].startswith("agreement      5 of 5 labels as ONNX Runtime 1.")


def test_a_model_that_answers_otherwise_than_its_runtime_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelInvalid, match="OpenVINO answers otherwise than ONNX Runtime, by "):
        agreement_of(spec, Fixed(spec, 0, 0, 0, 1))


def test_without_a_comparison_the_report_says_why(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: ModelSpec, *, batch_max: int) -> Classifier:
        assert batch_max == 1
        raise ModelInvalid("too new")

    monkeypatch.setattr(verification, "OnnxRuntimeClassifier", fails)
    assert agreement_of(spec).reason == "ONNX Runtime cannot run it (too new)"
    monkeypatch.setattr(verification, "is_installed", lambda _: False)
    assert (
        replace(report_of(spec), agreement=agreement_of(spec)).lines[1]
        == "agreement      not compared: ONNX Runtime is not installed"
    )


def test_photos_are_counted_right_wrong_and_failed(spec: ModelSpec, photos: list[Path]) -> None:
    # given a photo that cannot be read, one with a wrong name, and one of an unknown class
    bad = photos[0].parent / "bad.jpg"
    bad.write_bytes(b"")
    expected = {"red.jpg": frozenset({0}), "green.jpg": frozenset({3}), "elsewhere.jpg": frozenset({1})}
    # when
    report = report_of(spec, photos=Photos([bad, *photos], expected, prepare))
    # then
    found = report.photos
    assert found is not None
    assert (found.answered, found.known, found.right_first, found.right_five) == (3, 2, 1, 2)
    assert found.failed == {"bad.jpg": "image_undecodable"}
    assert report.lines[2:] == [
        "photos         3 answered; of 2 known 1 right, 2 among five",
        "               bad.jpg: image_undecodable",
    ]


def test_photos_of_classes_that_the_model_does_not_have_are_refused(
    spec: ModelSpec, photos: list[Path]
) -> None:
    with pytest.raises(ModelInvalid, match=r"has 4 classes, and an expected class of red\.jpg is number 4"):
        report_of(spec, photos=Photos(photos, {"red.jpg": frozenset({4})}, prepare))
    with pytest.raises(ConfigError, match="No such file"):
        report_of(spec, photos=Photos([photos[0].parent / "none.jpg"], {}, prepare))


def test_the_report_is_kept_in_the_folder(tmp_path: Path, photos: list[Path]) -> None:
    # given
    file, names, folder = tmp_path / "it.onnx", tmp_path / "names.txt", tmp_path / "models" / "it"
    file.write_bytes(tiny_graph(side=8))
    names.write_text("\n".join(LABELS), encoding="utf-8")
    description = Description("it", labels=names, preprocessing=Preprocessing())
    told: list[str] = []
    # when
    spec = import_model(
        file,
        folder,
        description,
        load=OpenVinoClassifier,
        tell=told.append,
        photos=Photos(photos, {"red.jpg": frozenset({0})}, prepare),
    )
    # then
    report = read_report(folder)
    assert report is not None
    assert report["graph_bytes"] == file.stat().st_size
    assert report["photos"] == {"answered": 3, "failed": {}, "known": 1, "right_first": 1, "right_five": 1}
    assert told[-1] == "photos         3 answered; of 1 known 1 right, 1 among five"
    assert read_model(folder) == spec


@pytest.mark.parametrize("text", [None, "no json", "[]"])
def test_a_folder_without_a_report_has_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text, encoding="utf-8")

    assert read_report(tmp_path) is None
