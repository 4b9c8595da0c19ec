"""The model folder: what is read, and every way in which it is refused."""

import re
import zlib
from pathlib import Path

import pytest

import beholder
from beholder.errors import ModelInvalid
from beholder.model.folder import is_model_name, read_graph, read_model
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.preprocessing_table import AS_IS, write_preprocessing
from tiny_models import LABELS, tiny_graph, toml, write_folder

WHEEL_BYTES_MAX = 20_000_000


def refusal(folder: Path) -> str:
    with pytest.raises(ModelInvalid) as caught:
        read_model(folder)
    return "\n".join(caught.value.problems)


def replaced(folder: Path, old: str, new: str) -> Path:
    path = folder / "model.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_reads_a_whole_folder(tmp_path: Path) -> None:
    spec = read_model(write_folder(tmp_path))

    assert (spec.name, spec.version, spec.licence, spec.source) == ("tiny", "1", "CC0-1.0", "a test")
    assert spec.labels == LABELS
    assert not spec.outputs_probabilities
    assert spec.onnx_path == tmp_path / "model.onnx"
    assert spec.preprocessing == Preprocessing(size=8)
    assert read_graph(spec) == tiny_graph()


def test_the_short_form_as_is_divides_by_255(tmp_path: Path) -> None:
    spec = read_model(write_folder(tmp_path, preprocessing='preprocessing = "as-is"'))

    assert spec.preprocessing == AS_IS
    assert spec.preprocessing.size is None
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((0, 0, 0), (255, 255, 255))


@pytest.mark.parametrize(
    "preprocessing",
    [
        AS_IS,
        Preprocessing(),
        Preprocessing(size=299, crop_fraction=1.0, mean=(1.5, 2.0, 3.0), scale=(58.395, 57.12, 57.375)),
        Preprocessing(kind=PreprocessingKind.AS_IS, size=None, mean=(127.0,) * 3, scale=(128.0,) * 3),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, preprocessing: Preprocessing) -> None:
    folder = write_folder(tmp_path, preprocessing=write_preprocessing(preprocessing))

    assert read_model(folder).preprocessing == preprocessing


def test_a_flipped_byte_of_the_graph_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    graph = bytearray(tiny_graph())
    graph[len(graph) // 2] ^= 1
    (folder / "model.onnx").write_bytes(graph)

    assert "the file is damaged or not the right one" in refusal(folder)


def test_a_graph_that_changes_after_the_check_is_refused(tmp_path: Path) -> None:
    spec = read_model(write_folder(tmp_path))
    spec.onnx_path.write_bytes(tiny_graph(side=9))

    with pytest.raises(ModelInvalid, match="has changed"):
        read_graph(spec)

    spec.onnx_path.unlink()
    with pytest.raises(ModelInvalid, match="cannot be read"):
        read_graph(spec)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        'name = "Tiny!"\noutput = "scores"\ncolour = "red"\n', encoding="utf-8"
    )

    problems = refusal(tmp_path).splitlines()

    assert all(problem.startswith(f"{tmp_path}: ") for problem in problems)
    for words in (
        "unknown key 'colour'",
        "lacks 'version'",
        "lacks 'licence'",
        "lacks 'source'",
        "lacks 'sha256'",
        "lacks 'labels'",
        "the name 'Tiny!' cannot be used",
        "output = 'scores' is not known",
        "preprocessing must be",
        "model.onnx is missing",
        "labels.txt is missing",
    ):
        assert any(words in problem for problem in problems), words


def test_a_missing_sha256_is_reported(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    sha256 = read_model(folder).sha256
    replaced(folder, f'sha256 = "{sha256}"\n', "")

    assert sha256 in refusal(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('version = "1"', "version = 1", "'version' must be a text"),
        ('name = "tiny"', 'format = 2\nname = "tiny"', "has the format 2, this beholder reads format 1"),
        ('source = "a test"', 'source = " "', "'source' must be a text that is not empty"),
        ('labels = "labels.txt"', 'labels = "../labels.txt"', "inside the model folder"),
        ("size = 8", "size = 0", "size must be a whole number"),
        ("size = 8", "size = true", "size must be a whole number"),
        ("size = 8", "crop_fraction = 1.5", "crop_fraction must be above 0"),
        ("size = 8", "sise = 8", "key 'sise'"),
        ('kind = "centre-crop"', 'kind = "fit"', "kind must be 'centre-crop', 'stretch' or 'as-is'"),
        ('kind = "centre-crop"', 'kind = "as-is"', "'size', which as-is does not take"),
        ("scale = 255", "scale = [1, 1, 0]", "scale divides"),
        ("scale = 255", "scale = [1, 1]", "scale must be a number, or three"),
        ("mean = 0", f"mean = 1{'0' * 400}", "mean must be a number, or three"),
        ("mean = 0", "mean = 1e300", "mean must be a number, or three"),
        ('labels = "labels.txt"', 'labels = "a\\u0000b"', "inside the model folder"),
        ('version = "1"', f"version = {'[' * 3000}{']' * 3000}", "is not valid TOML"),
        ("mean = 0", "mean = nan", "mean must be a number, or three"),
        ("mean = 0", 'mean = "0"', "mean must be a number, or three"),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in refusal(replaced(write_folder(tmp_path), old, new))


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    text = (folder / "model.toml").read_bytes()
    (folder / "model.toml").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))

    assert read_model(folder).name == "tiny"


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "labels")
    (folder / "labels.txt").write_bytes(b"\xff\xfe")
    assert "labels.txt is not UTF-8" in refusal(folder)

    folder = write_folder(tmp_path / "toml")
    (folder / "model.toml").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refusal(folder)

    (folder / "model.toml").write_text("name = ", encoding="utf-8")
    assert "is not valid TOML" in refusal(folder)


def test_folders_in_place_of_files_are_refused(tmp_path: Path) -> None:
    graph = tiny_graph()
    for name in ("model.onnx", "labels.txt"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.toml").write_text(toml(graph), encoding="utf-8")

    problems = refusal(tmp_path)

    assert "model.onnx cannot be read" in problems
    assert "labels.txt cannot be read" in problems
    assert "cannot be read" in refusal_of_a_toml_folder(tmp_path / "other")


def refusal_of_a_toml_folder(folder: Path) -> str:
    (folder / "model.toml").mkdir(parents=True)
    return refusal(folder)


def test_an_empty_folder_says_what_a_model_folder_holds(tmp_path: Path) -> None:
    assert "a model folder holds model.toml, model.onnx and labels" in refusal(tmp_path)


def test_an_empty_label_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, labels=("red", "", "blue", "dark"))

    assert "no name on line 2" in refusal(folder)


@pytest.mark.parametrize("name", ["a", "resnet18", "efficientnet-lite0", "v1.2_x", "0"])
def test_names_that_may_be_used(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize("name", ["", "A", "a" * 101, ".hidden", "-x", "a/b", "a b", "a\n", "é"])
def test_names_that_may_not_be_used(name: str) -> None:
    assert not is_model_name(name)


def test_the_package_fits_into_a_small_wheel() -> None:
    package = Path(beholder.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    # A wheel is a zip file, and zip compresses each file by zlib.
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) <= WHEEL_BYTES_MAX


def test_no_pickle_is_read_outside_the_checkpoint_reader() -> None:
    room = Path(beholder.__file__).parent / "model"

    naming = {path.name for path in room.rglob("*.py") if "import pickle" in path.read_text(encoding="utf-8")}

    # It has its own table of opcodes and names; `test_model_torch_file` sends it hostile pickles.
    assert naming == {"torch_file.py"}
    reader = (room / "torch_file.py").read_text(encoding="utf-8")
    assert not re.search(r"pickle\.(loads?|Unpickler)\b", reader)
    assert "def find_class" in reader
