"""Models that leave for another machine and come back, byte for byte."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beholder.cli.main import beholder
from beholder.model.folder import read_model
from tiny_models import tiny_graph, write_folder

pytestmark = pytest.mark.pure

FORMS = pytest.mark.parametrize("name", ["tiny-1", "tiny-1.zip", "tiny-1.tar"])
ARCHIVES = pytest.mark.parametrize("suffix", [".zip", ".tar"])


def run(folder: Path, *arguments: object) -> Result:
    """Run a command of `beholder models` on the data folder in this one."""
    texts = [*map(str, arguments), "--data-dir", str(folder / "data")]
    return CliRunner().invoke(beholder, ["models", *texts])


def refusal(folder: Path, *arguments: object) -> str:
    """Return why a command failed."""
    return str(run(folder, *arguments).exception)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A model folder with a report, and a file that is not a part of it."""
    folder = write_folder(tmp_path / "data" / "models" / "tiny")
    (folder / "report.json").write_text('{"beholder": "0.1.0"}', encoding="utf-8")
    (folder / ".notes").write_text("mine", encoding="utf-8")
    return folder


def archive(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive by hand."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w") as tarred:
        for name, content in files.items():
            source = path.parent / "content"
            source.write_bytes(content)
            tarred.add(source, name)
    return path


@FORMS
def test_what_is_exported_is_imported_byte_for_byte(tmp_path: Path, mine: Path, name: str) -> None:
    exported, elsewhere = tmp_path / name, tmp_path / "elsewhere"

    assert run(tmp_path, "export", "tiny", exported).exit_code == 0
    imported = run(elsewhere, "import", exported)

    assert imported.exit_code == 0, imported.output
    assert "beholder up --model tiny" in imported.output
    expected = contents(mine)
    del expected[".notes"]
    assert contents(elsewhere / "data" / "models" / "tiny") == expected
    # and a folder is served as it is
    if exported.is_dir():
        assert read_model(exported).name == "tiny"


@ARCHIVES
@pytest.mark.usefixtures("mine")
def test_the_same_model_gives_the_same_archive(tmp_path: Path, suffix: str) -> None:
    first, second = (tmp_path / f"{name}{suffix}" for name in ("a", "b"))

    for path in (first, second):
        assert run(tmp_path, "export", "tiny", path).exit_code == 0

    assert first.read_bytes() == second.read_bytes()


@FORMS
@pytest.mark.usefixtures("mine")
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    exported = tmp_path / name
    run(tmp_path, "export", "tiny", exported)

    assert "exists; remove it, or give another name" in refusal(tmp_path, "export", "tiny", exported)
    assert "exists; remove it first" in refusal(tmp_path, "import", exported)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", name]


@ARCHIVES
@pytest.mark.parametrize(
    "extra", ["../evil", "/evil", ".hidden", "tiny/model.onnx", "evil.py"], ids=lambda name: f"<{name}>"
)
def test_an_archive_with_other_files_is_refused(tmp_path: Path, mine: Path, suffix: str, extra: str) -> None:
    files = contents(mine)
    del files[".notes"]
    path = archive(tmp_path / f"it{suffix}", files | {extra: b"x"})

    refused = refusal(tmp_path / "elsewhere", "import", path)

    assert "is no exported model" in refused
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.toml").symlink_to("/etc/hostname")
    with tarfile.open(tmp_path / "it.tar", "w") as tarred:
        tarred.add(tmp_path / "model.toml", "model.toml")

    assert "is no exported model" in refusal(tmp_path, "import", tmp_path / "it.tar")


@ARCHIVES
def test_a_damaged_archive_is_refused(tmp_path: Path, mine: Path, suffix: str) -> None:
    path = tmp_path / f"it{suffix}"
    path.write_bytes(b"no archive" * 100)
    assert "is damaged, or no archive" in refusal(tmp_path / "elsewhere", "import", path)
    path.unlink()
    assert "No such file" in refusal(tmp_path / "elsewhere", "import", path)

    files = contents(mine) | {"model.onnx": tiny_graph(side=9)}
    del files[".notes"]
    refused = refusal(tmp_path / "elsewhere", "import", archive(path, files))
    assert "the file is damaged or not the right one" in refused
    assert list((tmp_path / "elsewhere" / "data" / "models").iterdir()) == []


@pytest.mark.parametrize("text", ["no toml [", 'name = "tiny"', 'name = "../x"\nversion = "1"', "name = 3"])
def test_an_archive_without_a_name_is_refused(tmp_path: Path, text: str) -> None:
    path = archive(tmp_path / "it.zip", {"model.toml": text.encode()})

    assert "export the model again" in refusal(tmp_path, "import", path)


@pytest.mark.usefixtures("mine")
def test_options_that_describe_a_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    run(tmp_path, "export", "tiny", path)

    refused = refusal(tmp_path / "elsewhere", "import", path, "--name", "other", "--crop-fraction", "1")

    assert "which says all of itself; leave out --name, --crop-fraction" in refused
    assert "give one by --name" in refusal(tmp_path, "import", tmp_path / "it.onnx")
