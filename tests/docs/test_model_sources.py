"""The table of what can be imported: each of its commands runs, and says what the table says."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from beholder.cli.main import beholder
from beholder.model import resnet
from beholder.model.exporting import export_model
from beholder.model.folder import KEYS, read_model
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.preprocessing_table import read_preprocessing, write_preprocessing
from docs.pages import column, read, table
from helpers.sources import (
    archive_file,
    hub_folder,
    labelled,
    nhwc_graph,
    safetensors_file,
    timm_config,
    vit_config,
    yolo_file,
)
from helpers.torch_files import state_file
from resnet_reference import NARROW, State, random_state
from tiny_models import LABELS, tiny_graph, write_folder

PAGE = read("docs/models.md")
ROWS = table(PAGE, "source")


@pytest.fixture(scope="module")
def of_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of torch.save with ImageNet's classes."""
    state = random_state(classes=1000, widths=NARROW)
    return state_file(tmp_path_factory.mktemp("torch") / "it.pth", state)


@pytest.fixture
def folder(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with every file that the table names."""
    (tmp_path / "mushrooms.txt").write_text("\n".join(LABELS), encoding="utf-8")
    (tmp_path / "mushrooms.onnx").write_bytes(labelled(tiny_graph(side=224), producer="pytorch"))
    (tmp_path / "tags.onnx").write_bytes(tiny_graph(side=224))
    (tmp_path / "keras.onnx").write_bytes(nhwc_graph())
    yolo_file(tmp_path / "yolo11n-cls.onnx")
    hub_folder(tmp_path / "vit-mushrooms", config=vit_config())
    hub_folder(tmp_path / "timm-mushrooms", config=timm_config(), preprocessor=None)
    archive_file(
        tmp_path / "mushrooms.mar",
        weights=state_file(tmp_path / "mushrooms.pth", state).read_bytes(),
        names=dict(enumerate(LABELS)),
        handler="image_classifier",
    )
    exported = read_model(write_folder(tmp_path / "elsewhere" / "mushrooms"))
    export_model(exported, tmp_path / "mushrooms.zip")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(classes=len(LABELS), widths=NARROW)


@pytest.fixture(scope="module")
def weights(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return safetensors_file(tmp_path_factory.mktemp("weights") / "it.safetensors", state)


@pytest.fixture
def _checkpoints(folder: Path, weights: Path, of_torch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ResNet be narrow."""
    monkeypatch.setattr(resnet, "_WIDTHS", NARROW)
    (folder / "resnet18.safetensors").symlink_to(weights)
    (folder / "resnet18.pth").symlink_to(of_torch)


def test_the_page_names_every_key_of_a_model_folder() -> None:
    named = [key for row in table(PAGE, "key") for key in re.findall(r"`([^`]+)`", row[0])]

    assert {key for key in named if "." not in key} == set(KEYS)
    # Each default of the table is taken.
    problems: list[str] = []
    for kind in PreprocessingKind:
        read_preprocessing({"kind": kind}, problems)
    assert problems == []
    written = "".join(
        write_preprocessing(Preprocessing(kind=kind, size=None if kind == "as-is" else 224))
        for kind in PreprocessingKind
    )
    keys = set(re.findall(r"^(\w+) =", written, re.MULTILINE))
    assert {key.removeprefix("preprocessing.") for key in named if "." in key} == keys


def test_the_table_has_a_row_for_each_form() -> None:
    assert len(ROWS) >= 5
    assert len({row[1] for row in ROWS}) == len(ROWS)


@pytest.mark.pure
@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row[0] for row in ROWS])
@pytest.mark.usefixtures("_checkpoints")
def test_a_command_of_the_table_imports_and_says_what_was_understood(folder: Path, number: int) -> None:
    (command,) = column(PAGE, "source", 1)[number : number + 1]
    program, *arguments = shlex.split(command)
    assert program == "beholder"

    done = CliRunner().invoke(beholder, [*arguments, "--data-dir", str(folder / "data")])

    assert done.exit_code == 0, done.output
    said = re.findall(r"`([^`]+)`", ROWS[number][2])
    assert said
    assert [text for text in said if text not in done.output] == []
