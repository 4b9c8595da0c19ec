"""Models are found by name or by folder, and a broken one hides no other."""

import re
from pathlib import Path

import pytest

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from tiny_models import write_folder


def test_the_built_in_model_is_whole() -> None:
    spec = ModelRegistry().find(BUILTIN_MODEL)

    assert spec.name == BUILTIN_MODEL
    assert len(spec.labels) == 1000
    assert (spec.labels[0], spec.labels[999]) == ("tench", "toilet tissue")
    assert spec.licence == "Apache-2.0"
    assert (spec.preprocessing.size, spec.preprocessing.crop_fraction) == (224, 0.875)
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((127.0,) * 3, (128.0,) * 3)


def test_models_of_the_folder_are_found_beside_the_built_in(tmp_path: Path) -> None:
    write_folder(tmp_path / "any-folder-name", name="tiny")

    entries = ModelRegistry(tmp_path).list_models()

    assert [(entry.name, entry.is_builtin) for entry in entries] == [(BUILTIN_MODEL, True), ("tiny", False)]
    assert ModelRegistry(tmp_path).find("tiny") == entries[1].spec


def test_a_broken_folder_is_listed_with_its_problems(tmp_path: Path) -> None:
    write_folder(tmp_path / "a-broken")
    (tmp_path / "a-broken" / "labels.txt").unlink()
    write_folder(tmp_path / "b-whole", name="whole")

    entries = ModelRegistry(tmp_path).list_models()

    assert [entry.name for entry in entries] == [BUILTIN_MODEL, "a-broken", "whole"]
    assert entries[1].spec is None
    assert "labels.txt is missing" in entries[1].problems[0]
    assert entries[2].problems == ()
    with pytest.raises(ModelInvalid, match=r"labels\.txt is missing"):
        ModelRegistry(tmp_path).find("a-broken")


def test_a_name_that_is_taken_is_a_problem_of_the_later_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_folder(tmp_path / folder)

    entries = ModelRegistry(tmp_path).list_models()

    assert entries[1].spec is not None
    assert entries[2].spec is None
    assert "already has the name 'tiny' and the version '1'" in entries[2].problems[0]
    assert ModelRegistry(tmp_path).find("tiny") == entries[1].spec


def test_versions_of_one_name_stand_side_by_side(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    for version in ("1", "2"):
        write_folder(registry.folder_for("tiny", version), version=version)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["tiny", "tiny@2"]

    assert [registry.find(name).reference for name in ("tiny", "tiny@1", "tiny@2")] == [
        "tiny@1",
        "tiny@1",
        "tiny@2",
    ]
    with pytest.raises(ConfigError, match="no model is named 'tiny@3'"):
        registry.find("tiny@3")
    assert registry.folder_for("tiny", "2") == tmp_path / "tiny@2", "which is taken, so an import refuses it"
    assert registry.folder_for(BUILTIN_MODEL, "9") == tmp_path / f"{BUILTIN_MODEL}@9"
    with pytest.raises(ConfigError, match="version 'a/b' cannot be a part"):
        registry.folder_for("tiny", "a/b")
    with pytest.raises(ConfigError, match="both called 'tiny'; add an @ and the version"):
        registry.remove("tiny")
    assert registry.remove("tiny@1") == tmp_path / "tiny"
    assert registry.find("tiny").reference == "tiny@2"


def test_files_and_unfinished_imports_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello", encoding="utf-8")
    write_folder(tmp_path / ".import-abc", name="unfinished")

    assert [entry.name for entry in ModelRegistry(tmp_path).list_models()] == [BUILTIN_MODEL]


def test_a_folder_is_found_by_its_path(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "somewhere")

    assert ModelRegistry().find(folder).name == "tiny"
    assert ModelRegistry().find(str(folder)).name == "tiny"
    with pytest.raises(ModelInvalid, match=r"model\.toml is missing"):
        ModelRegistry().find(tmp_path)


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no model is named 'nothing'; there is {BUILTIN_MODEL}"):
        ModelRegistry(tmp_path / "not-there").find("nothing")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mushroom", " (did you mean 'mushrooms'?)"),
        ("Mushrooms", " (did you mean 'mushrooms'?)"),
        ("mush rooms", " (did you mean 'mushrooms'?)"),
        ("", ""),
        ("x" * 300, ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    registry = ModelRegistry(tmp_path)
    write_folder(tmp_path / "mushrooms", name="mushrooms")

    with pytest.raises(ConfigError, match=re.escape(f"no model is named '{name}'{meant};")):
        registry.find(name)
    with pytest.raises(ConfigError, match=re.escape(f"no imported model is named '{name}'{meant};")):
        registry.remove(name)


def test_a_folder_whose_name_can_be_no_models_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "My model")
    monkeypatch.chdir(tmp_path)

    assert ModelRegistry().find("My model").name == "tiny"


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_imported_model_is_removed_with_its_folder(tmp_path: Path, is_whole: bool) -> None:  # noqa: FBT001
    write_folder(tmp_path / "tiny", name="tiny")
    write_folder(tmp_path / "other", name="other")
    if not is_whole:
        (tmp_path / "tiny" / "model.toml").unlink()

    assert ModelRegistry(tmp_path).remove("tiny") == tmp_path / "tiny"

    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (BUILTIN_MODEL, "is built in and cannot be removed"),
        ("nothing", "no imported model is named 'nothing'"),
        ("", "no imported model is named ''"),
        (".", "no imported model"),
        ("../outside", "no imported model"),
        ("same", "both called 'same'"),
    ],
)
def test_nothing_else_is_removed(tmp_path: Path, name: str, words: str) -> None:
    models = tmp_path / "models"
    write_folder(tmp_path / "outside")
    write_folder(models / "a", name="same")
    # Cannot be used, so it has the name of its folder.
    (models / "same").mkdir()
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ConfigError, match=words):
        ModelRegistry(models).remove(name)

    assert sorted(tmp_path.rglob("*")) == before


def test_of_a_linked_model_the_link_is_removed(tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(real)

    ModelRegistry(tmp_path / "models").remove("tiny")

    assert (real / "model.onnx").exists()
    assert not list((tmp_path / "models").iterdir())
