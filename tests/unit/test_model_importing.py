"""Importing makes a whole model folder or none."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beholder.errors import ConfigError, ImageTypeUnsupported, ModelInvalid
from beholder.model import resnet
from beholder.model.checking import check_model
from beholder.model.folder import read_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.port import ModelSpec, Preprocessing
from beholder.model.preprocessing_table import AS_IS, TORCHVISION
from beholder.model.registry import BUILTIN_MODEL
from beholder.model.sources.source import Description
from helpers.importing import import_checkpoint, import_onnx
from helpers.torch_files import state_file
from resnet_reference import NARROW, State, logits, random_state
from tiny_models import LABELS, expected_probabilities, tiny_graph, write_folder

DESCRIPTION = Description(
    "tiny", "2.0", "CC0-1.0", 'a "quoted"\n\\ source', preprocessing=Preprocessing(size=8)
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def import_tiny(folder: Path, *, destination: Path | None = None, **options: Any) -> ModelSpec:
    folder.mkdir(exist_ok=True)
    graph, labels = folder / "some.onnx", folder / "names.txt"
    graph.write_bytes(options.pop("graph", tiny_graph()))
    labels.write_text("\n".join(options.pop("labels", LABELS)), encoding="utf-8")
    description = replace(DESCRIPTION, **options)
    return import_onnx(
        graph, labels, destination or folder / "models" / "tiny", description, load=OnnxRuntimeClassifier
    )


def test_an_imported_graph_is_a_model_folder(tmp_path: Path) -> None:
    spec = import_tiny(tmp_path)

    assert spec == read_model(tmp_path / "models" / "tiny")
    assert (spec.name, spec.version, spec.licence) == ("tiny", "2.0", "CC0-1.0")
    assert spec.source == DESCRIPTION.source
    assert (spec.labels, spec.preprocessing) == (LABELS, Preprocessing(size=8))
    assert names(tmp_path / "models") == ["tiny"]
    assert (tmp_path / "models" / "tiny").stat().st_mode & 0o777 == 0o755


def test_probabilities_are_written_down(tmp_path: Path) -> None:
    spec = import_tiny(tmp_path, graph=tiny_graph(softmax=True), outputs_probabilities=True)

    assert spec.outputs_probabilities


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    import_tiny(tmp_path)
    before = (tmp_path / "models" / "tiny" / "model.toml").read_bytes()

    with pytest.raises(ConfigError, match="exists; remove it first"):
        import_tiny(tmp_path, version="3.0")

    assert (tmp_path / "models" / "tiny" / "model.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"graph": b"junk"}, "some.onnx is no ONNX file, or damaged"),
        ({"labels": ("one", "two")}, "names.txt 2 names"),
        ({"licence": " "}, "'licence' must be a text that is not empty"),
    ],
)
def test_what_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelInvalid) as caught:
        import_tiny(tmp_path, **options)

    assert words in caught.value.message
    assert ".import-" not in caught.value.message
    assert not list((tmp_path / "models").glob("*"))


def test_problems_name_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid) as caught:
        import_tiny(tmp_path, licence=" ")

    assert caught.value.problems[0].startswith(f"{tmp_path / 'models' / 'tiny'}: ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the name '' cannot be used; begin with a lower-case letter"),
        (".", "the name '.' cannot be used"),
        ("a" * 300, f"the name '{'a' * 300}' cannot be used"),
        ("../models", "the name '../models' cannot be used"),
        ("No Name", "the name 'No Name' cannot be used"),
        (BUILTIN_MODEL, f"'{BUILTIN_MODEL}' is the name of the built-in model; give another"),
    ],
)
@pytest.mark.parametrize("kind", ["onnx", "resnet18"])
def test_a_name_is_checked_before_a_path_is_made_of_it(
    tmp_path: Path, kind: str, name: str, words: str
) -> None:
    # given a folder of models, which an empty name leads to
    models = tmp_path / "models"
    write_folder(models / "tiny", name="tiny")
    before = sorted(models.rglob("*"))
    make = {
        "onnx": partial(import_tiny, tmp_path, destination=models / name),
        "resnet18": partial(
            import_checkpoint, tmp_path / "none.pth", models / name, load=OnnxRuntimeClassifier
        ),
    }[kind]
    # when
    with pytest.raises(ConfigError) as caught:
        make(name=name)
    # then the name is the problem, and nobody is told to remove anything
    assert caught.value.message.startswith(words)
    assert "remove" not in caught.value.message
    assert sorted(models.rglob("*")) == before


def test_a_name_that_another_folder_has_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "models" / "elsewhere", name="tiny")

    with pytest.raises(ConfigError, match="elsewhere already has the name 'tiny'; give another"):
        import_tiny(tmp_path)


def test_what_a_killed_import_left_is_removed_by_a_later_one(tmp_path: Path) -> None:
    for name in (".import-old", ".removed-old", ".import-new"):
        write_folder(tmp_path / "models" / name)
    for name in (".import-old", ".removed-old"):
        os.utime(tmp_path / "models" / name, (0, 0))

    import_tiny(tmp_path)

    assert names(tmp_path / "models") == [".import-new", "tiny"]


def test_an_import_that_ends_meanwhile_does_not_hinder_another(tmp_path: Path) -> None:
    # given a name that is listed, and then has no folder
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / ".import-ended").symlink_to(tmp_path / "gone")

    import_tiny(tmp_path)

    assert names(tmp_path / "models") == [".import-ended", "tiny"]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.onnx: No such file"):
        import_onnx(
            tmp_path / "nothing.onnx",
            tmp_path / "labels.txt",
            tmp_path / "models" / "tiny",
            DESCRIPTION,
            load=OnnxRuntimeClassifier,
        )
    assert not (tmp_path / "models").exists()


def test_a_destination_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(ConfigError, match="cannot be written"):
        import_tiny(tmp_path, destination=tmp_path / "file" / "tiny")


def test_the_quicker_of_two_imports_wins(tmp_path: Path) -> None:
    def load_slowly(spec: ModelSpec) -> OnnxRuntimeClassifier:
        write_folder(tmp_path / "models" / "tiny", name="quicker")
        return OnnxRuntimeClassifier(spec)

    (tmp_path / "some.onnx").write_bytes(tiny_graph())
    (tmp_path / "names.txt").write_text("\n".join(LABELS), encoding="utf-8")
    destination = tmp_path / "models" / "tiny"

    with pytest.raises(ConfigError, match="tiny exists; remove it first"):
        import_onnx(
            tmp_path / "some.onnx", tmp_path / "names.txt", destination, DESCRIPTION, load=load_slowly
        )

    assert read_model(destination).name == "quicker"
    assert names(tmp_path / "models") == ["tiny"]


# --- ResNet-18 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(classes=1000)


@pytest.fixture(scope="module")
def checkpoint(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return state_file(tmp_path_factory.mktemp("checkpoint") / "resnet18.pth", state)


@pytest.mark.pure
def test_a_resnet18_runs_images_as_they_are(tmp_path: Path, checkpoint: Path, state: State) -> None:
    image = np.random.default_rng(2).integers(0, 256, (40, 33, 3), np.uint8)

    spec = import_checkpoint(checkpoint, tmp_path / "models" / "resnet18", load=OnnxRuntimeClassifier)
    found = OnnxRuntimeClassifier(spec).classify([image])[0]

    values = logits(state, image.transpose(2, 0, 1)[None] / np.float32(255))[0]
    powers = np.exp(values - values.max())
    np.testing.assert_allclose(found, powers / powers.sum(), rtol=1e-2, atol=1e-5)
    assert (spec.name, spec.licence, spec.preprocessing) == ("resnet18", "BSD-3-Clause", AS_IS)
    assert spec.labels[0] == "tench"
    assert spec.source.startswith("resnet18.pth, sha256 ")


@pytest.mark.pure
def test_the_preprocessing_of_the_training_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resnet, "_WIDTHS", NARROW)
    narrow = state_file(tmp_path / "resnet18.pth", random_state(classes=1000, widths=NARROW), is_older=True)

    spec = import_checkpoint(
        narrow, tmp_path / "resnet18", load=OnnxRuntimeClassifier, preprocessing=TORCHVISION
    )

    assert spec.preprocessing == TORCHVISION


def test_labels_of_another_length_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n", encoding="utf-8")

    with pytest.raises(ModelInvalid, match="has 1000 classes, the labels are 2"):
        import_checkpoint(checkpoint, tmp_path / "resnet18", load=OnnxRuntimeClassifier, labels=labels)
    with pytest.raises(ConfigError, match="give a file with one class name per line"):
        import_checkpoint(
            checkpoint, tmp_path / "resnet18", load=OnnxRuntimeClassifier, labels=tmp_path / "no"
        )


def test_without_onnx_it_says_how_to_install_it(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(ConfigError, match=r"^onnx is not installed; run: pip install onnx$"):
        import_checkpoint(checkpoint, tmp_path / "resnet18", load=OnnxRuntimeClassifier)


# --- trying a folder ----------------------------------------------------------------------------------------


def test_a_trial_reports_time_and_labels(tmp_path: Path) -> None:
    spec = read_model(write_folder(tmp_path / "tiny"))
    photo = tmp_path / "photo.raw"
    photo.write_bytes(bytes([255, 0, 0]) * 64)
    ticks = iter(range(1000))

    report = check_model(
        spec,
        [photo],
        load=OnnxRuntimeClassifier,
        prepare=lambda data, _: np.frombuffer(data, np.uint8).reshape(8, 8, 3),
        top_k=2,
        timer=lambda: float(next(ticks)),
    )

    assert (report.spec.name, report.classes, report.precision) == ("tiny", 4, "fp32")
    assert (report.load_s, report.image_ms) == (1.0, 1000.0)
    (noise, _), (name, labels) = report.answers
    assert (noise, name) == ("noise", str(photo))
    assert [label.name for label in labels] == ["red", "dark"]
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    assert labels[0].confidence == pytest.approx(expected_probabilities([red])[0, 0], abs=1e-5)


def test_a_trial_names_the_images_that_fail_and_answers_the_others(tmp_path: Path) -> None:
    photos = [tmp_path / name for name in ("red", "none", "wide", "blue")]
    for photo, data in zip(photos, ([255, 0, 0] * 64, [], [9] * 24 * 9, [0, 0, 255] * 64), strict=True):
        photo.write_bytes(bytes(data))

    def prepare(data: bytes, _: object) -> np.ndarray:
        if not data:
            raise ImageTypeUnsupported
        return np.frombuffer(data, np.uint8).reshape(-1, 8, 3)

    report = check_model(
        read_model(write_folder(tmp_path / "tiny")), photos, load=OnnxRuntimeClassifier, prepare=prepare
    )

    answers = [(name, labels[0].name) for name, labels in report.answers[1:]]
    assert answers == [(str(photos[0]), "red"), (str(photos[3]), "blue")]
    failures = [(name, error.code) for name, error in report.failures]
    assert failures == [
        (str(photos[1]), "image_type_unsupported"),
        (str(photos[2]), "image_size_unsupported"),
    ]


def test_a_trial_with_a_missing_photo_says_so_before_it_loads(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the path of an image"):
        check_model(
            read_model(write_folder(tmp_path / "tiny")),
            [tmp_path / "nothing.jpg"],
            load=lambda _: pytest.fail("loaded"),
            prepare=lambda *_: np.zeros((8, 8, 3), np.uint8),
        )


# --- with a real torch, where there is one ------------------------------------------------------------------

TORCH_PYTHON = os.environ.get("BEHOLDER_TEST_TORCH_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(
    not TORCH_PYTHON,
    reason="needs torch; set BEHOLDER_TEST_TORCH_PYTHON to a Python with beholder[torch,onnxruntime]",
)
def test_real_checkpoints_in_both_formats_run_as_torch_does(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(tests.parent / "src")}

    subprocess.run([TORCH_PYTHON, str(tests / "torch_resnet.py"), str(tmp_path)], check=True, env=environment)
