"""Confidences that mean what they say."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from beholder.cli.main import beholder
from beholder.errors import ModelInvalid
from beholder.model.answers import at_temperature
from beholder.model.calibration import calibration_error, find_temperature
from beholder.model.folder import read_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import Classifier, ModelSpec
from tiny_models import BLUE, DARK, GREEN, LABELS, RED, tiny_graph, write_folder

pytestmark = pytest.mark.pure

COLOURS = [RED, GREEN, BLUE, DARK]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_a_model_is_found(temperature: float) -> None:
    # given classes drawn by the probabilities that a model would give at that temperature
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20_000, 5))
    powers = np.exp(logits)
    rows = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    true = at_temperature(rows, temperature)
    classes = (true.cumsum(axis=1) < random.random((len(true), 1))).sum(axis=1).clip(max=4)
    # when
    found = find_temperature(rows, classes)
    # then
    assert found == pytest.approx(temperature, rel=0.05)
    assert calibration_error(true, classes) < 0.02
    if temperature != 1.0:
        assert calibration_error(rows, classes) > 0.05


def test_the_error_is_the_gap_between_confidence_and_the_share_of_right_answers() -> None:
    rows = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], np.float32)

    # Of those at 0.9 one of two is right, of those at 0.6 both.
    error = calibration_error(rows, np.array([0, 1, 1, 1]))

    assert error == pytest.approx((0.4 + 0.4) / 2, abs=1e-6)


def test_a_low_temperature_leaves_a_probability_that_counts() -> None:
    rows = np.full((1, 1000), 0.0009, np.float32)
    rows[0, 7] = 1 - 999 * 0.0009

    assert at_temperature(rows, 0.05)[0, 7] == pytest.approx(1.0)
    np.testing.assert_allclose(at_temperature(rows, 3.0).sum(axis=1), 1.0, rtol=1e-5)
    assert at_temperature(rows, 1.0) is rows


@pytest.mark.parametrize("runtime", [OpenVinoClassifier, OnnxRuntimeClassifier])
@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_a_model_answers_at_its_temperature(
    tmp_path: Path, runtime: Callable[[ModelSpec], Classifier], output: str
) -> None:
    folder = write_folder(tmp_path, graph=tiny_graph(softmax=output == "probabilities"), output=output)
    plain = runtime(read_model(folder)).classify(COLOURS)
    text = (folder / "model.toml").read_text(encoding="utf-8")
    (folder / "model.toml").write_text(f"temperature = 2\n{text}", encoding="utf-8")

    found = runtime(read_model(folder)).classify(COLOURS)

    roots = np.sqrt(plain)
    np.testing.assert_allclose(found, roots / roots.sum(axis=1, keepdims=True), atol=0.02)
    assert np.abs(found - plain).max() > 0.1


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", '"warm"', "true", "21"])
def test_other_temperatures_are_refused(tmp_path: Path, value: str) -> None:
    folder = write_folder(tmp_path)
    text = (folder / "model.toml").read_text(encoding="utf-8")
    (folder / "model.toml").write_text(f"temperature = {value}\n{text}", encoding="utf-8")

    with pytest.raises(ModelInvalid, match=r"temperature must be a number from 0\.05 to 20"):
        read_model(folder)


def calibrated(tmp_path: Path, name: object, count: int = 40, *more: str) -> Result:
    """Calibrate with photos of which every fourth shows something else than its colour."""
    photos = tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    rows = ["file,index,name"]
    for number in range(count):
        Image.fromarray(COLOURS[number % 4]).save(photos / f"{number:02}.png")
        shown = number % 4 if number % 16 < 12 else (number + 1) % 4
        rows.append(f"{number:02}.png,{shown},{LABELS[shown]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    texts = ["calibrate", str(name), str(photos), "--expect", str(tmp_path / "labels.csv"), *more]
    return CliRunner().invoke(
        beholder, ["models", *texts, "--data-dir", str(tmp_path / "data"), "--precision", "fp32"]
    )


def test_a_calibration_is_kept_in_the_folder_and_changes_nothing_else(tmp_path: Path) -> None:
    # given
    folder = write_folder(tmp_path / "data" / "models" / "tiny")
    path = folder / "model.toml"
    text = "# mine\n" + path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    before = OpenVinoClassifier(read_model(folder), precision="fp32").classify(COLOURS)
    # when
    done = calibrated(tmp_path, "tiny")
    again = calibrated(tmp_path, "tiny", 40, "--json")
    # then
    assert done.exit_code == 0, done.output
    spec = read_model(folder)
    assert spec.temperature > 1.2
    assert f"temperature    {spec.temperature}, was 1.0, by 40 photos" in done.output
    found = json.loads(again.stdout)
    assert (found["after"], found["before"], found["photos"]) == (spec.temperature, spec.temperature, 40)
    after = OpenVinoClassifier(spec, precision="fp32").classify(COLOURS)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert after.max() < before.max()
    new = path.read_text(encoding="utf-8")
    assert [line for line in new.splitlines() if line and not line.startswith("temperature")] == [
        line for line in text.splitlines() if line
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "model.onnx", "model.toml"]


def test_what_cannot_be_calibrated_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "models" / "tiny")

    assert "12 photos have a class and an answer; give at least 20" in str(
        calibrated(tmp_path, "tiny", 12).exception
    )
    assert "calibrate a copy: beholder models export" in str(
        calibrated(tmp_path, "efficientnet-lite0").exception
    )
    assert "temperature" not in (folder / "model.toml").read_text(encoding="utf-8")
