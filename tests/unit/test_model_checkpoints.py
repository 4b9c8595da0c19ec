"""Checkpoints of ResNets, as safetensors, in a folder of timm and in an archive of TorchServe."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beholder.errors import ConfigError, ModelInvalid
from beholder.model import resnet
from beholder.model.checkpoint import read_safetensors
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import ModelSpec
from beholder.model.preprocessing_table import AS_IS, TORCHVISION
from beholder.model.sources import torchserve
from helpers.importing import import_checkpoint
from helpers.sources import archive_file, hub_folder, safetensors_file, script_bytes, timm_config
from helpers.torch_files import state_file
from resnet_reference import NARROW, State, logits, random_state

pytestmark = pytest.mark.pure

NAMES = ("fly agaric", "morel", "cep", "truffle")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ResNet be narrow; test_model_importing imports one as wide as torchvision's."""
    monkeypatch.setattr(resnet, "_WIDTHS", NARROW)


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(classes=len(NAMES), widths=NARROW)


@pytest.fixture(scope="module")
def weights(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return safetensors_file(tmp_path_factory.mktemp("weights") / "it.safetensors", state)


@pytest.fixture(scope="module")
def weights_of_torch(state: State, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return state_file(tmp_path_factory.mktemp("weights") / "it.pth", state).read_bytes()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES), encoding="utf-8")
    return path


def imported(source: Path, folder: Path, **described: Any) -> ModelSpec:
    return import_checkpoint(
        source, folder / "models" / "it", load=OpenVinoClassifier, name="it", **described
    )


def test_safetensors_need_no_torch_and_run_as_the_network_does(
    tmp_path: Path, weights: Path, labels: Path, state: State
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)

    spec = imported(weights, tmp_path, labels=labels, preprocessing=AS_IS)
    found = OpenVinoClassifier(spec, precision="fp32").classify([image])[0]

    values = logits(state, image.transpose(2, 0, 1)[None] / np.float32(255))[0]
    powers = np.exp(values - values.max())
    np.testing.assert_allclose(found, powers / powers.sum(), rtol=1e-2, atol=1e-5)
    assert (spec.preprocessing.kind, spec.labels) == ("as-is", NAMES)


@pytest.mark.parametrize("arch", [None, "resnet18"])
def test_other_classes_than_imagenets_ask_for_the_preprocessing(
    tmp_path: Path, weights: Path, labels: Path, arch: str | None
) -> None:
    with pytest.raises(ModelInvalid, match="give --preprocessing torchvision"):
        imported(weights, tmp_path, labels=labels, arch=arch)
    with pytest.raises(ModelInvalid, match="as-is leaves an image at its size; leave out --size"):
        imported(weights, tmp_path, labels=labels, arch=arch, size=64, preprocessing=AS_IS)


def test_another_architecture_is_refused_with_what_differs(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"lacks layer1\.2\.conv1\.weight.*no torchvision resnet34"):
        imported(weights, tmp_path, arch="resnet34")


def test_an_architecture_that_is_not_built_here_gets_the_command_that_exports_it(
    tmp_path: Path, weights: Path
) -> None:
    other = safetensors_file(tmp_path / "vgg.safetensors", {"features.0.weight": np.zeros((2, 3))})

    with pytest.raises(ModelInvalid, match=r"'vgg16' is not built here.*get_model\('vgg16'\)"):
        imported(weights, tmp_path, arch="vgg16")
    with pytest.raises(ModelInvalid, match=r"is no ResNet of torchvision.*torch\.onnx\.export"):
        imported(other, tmp_path)


def test_a_checkpoint_of_other_classes_than_imagenets_asks_for_its_labels(
    tmp_path: Path, weights: Path
) -> None:
    with pytest.raises(ConfigError, match="by --labels"):
        imported(weights, tmp_path)


def test_a_resnet_of_timm_is_taken_without_a_graph(tmp_path: Path, weights: Path) -> None:
    config = timm_config(names=NAMES)
    config["architecture"] = "resnet18"
    folder = hub_folder(tmp_path / "timm", config=config, preprocessor=None, graph=None)
    (folder / "model.safetensors").symlink_to(weights)

    spec = imported(folder, tmp_path)

    assert (spec.labels, spec.licence) == (NAMES, "apache-2.0")
    assert (spec.preprocessing.size, spec.preprocessing.crop_fraction) == (224, 0.95)


@pytest.mark.parametrize("changed", [{"model_args": {"output_stride": 16}}, {"global_pool": "max"}])
def test_a_resnet_of_timm_that_its_weights_do_not_show_needs_a_graph(
    tmp_path: Path, weights: Path, changed: dict[str, Any]
) -> None:
    config = timm_config(names=NAMES) | {"architecture": "resnet18"} | changed
    folder = hub_folder(tmp_path / "timm", config=config, preprocessor=None, graph=None)
    (folder / "model.safetensors").symlink_to(weights)

    with pytest.raises(ModelInvalid, match=r"has no model\.onnx"):
        imported(folder, tmp_path)


# --- safetensors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16"])
def test_each_type_of_numbers_is_read_as_float32(tmp_path: Path, kind: str) -> None:
    values = {"module.a": np.arange(6.0).reshape(2, 3), "module.b": np.array(1.5)}

    found = read_safetensors(safetensors_file(tmp_path / "it.safetensors", values, kind=kind))

    assert list(found) == ["a", "b"]
    assert found["a"].dtype == found["b"].dtype == np.float32
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert float(found["b"]) == 1.5


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F32"},
        {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]},
        "F32",
    ],
)
def test_a_damaged_head_is_refused(tmp_path: Path, entry: Any) -> None:
    head = json.dumps({"a": entry}).encode()
    path = tmp_path / "it.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 8)

    with pytest.raises(ModelInvalid, match="no safetensors file of floats, or damaged"):
        read_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0[]"])
def test_other_files_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.safetensors").write_bytes(content)

    with pytest.raises(ModelInvalid, match="no safetensors file"):
        read_safetensors(tmp_path / "it.safetensors")


def test_arrays_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    # Read as they are said to be, they would take many times the size of the file.
    entry = {"dtype": "F32", "shape": [250], "data_offsets": [0, 1000]}
    head = json.dumps({str(number): entry for number in range(200)}).encode()
    path = tmp_path / "it.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 1000)

    with pytest.raises(ModelInvalid, match="no safetensors file"):
        read_safetensors(path)


# --- archives of TorchServe ---------------------------------------------------------------------------------


def test_an_archive_with_a_state_dict_needs_no_option(tmp_path: Path, weights_of_torch: bytes) -> None:
    # given names alone or behind WordNet's numbers
    names = {"0": NAMES[0], **{str(number): [f"n{number}", NAMES[number]] for number in range(1, 4)}}
    archive = archive_file(
        tmp_path / "it.mar", weights=weights_of_torch, names=names, handler="image_classifier"
    )
    # when
    spec = imported(archive, tmp_path)
    # then
    assert (spec.labels, spec.preprocessing) == (NAMES, TORCHVISION)


def test_an_archive_with_a_handler_of_its_own_asks_for_the_preprocessing(
    tmp_path: Path, weights_of_torch: bytes, labels: Path
) -> None:
    archive = archive_file(tmp_path / "it.mar", weights=weights_of_torch, handler="handler.py")

    with pytest.raises(ConfigError, match="by --labels"):
        imported(archive, tmp_path)
    with pytest.raises(ModelInvalid, match="give --preprocessing"):
        imported(archive, tmp_path, labels=labels)


def test_torchscript_is_refused_with_the_command_that_exports_it(tmp_path: Path) -> None:
    (tmp_path / "it.pt").write_bytes(script_bytes())
    archive = archive_file(tmp_path / "it.mar", weights=script_bytes())

    for source in (tmp_path / "it.pt", archive):
        with pytest.raises(ModelInvalid, match=r"is TorchScript, a program; export it .*torch\.jit\.load"):
            imported(source, tmp_path)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{}", "is no archive of TorchServe"),
        ('{"model": {}}', "is no archive of TorchServe"),
        ('{"model": []}', "is no archive of TorchServe"),
        ('{"model": {"serializedFile": "gone.pth"}}', "is no archive of TorchServe"),
        ("[]", "holds no JSON object"),
        ("{", "is no JSON"),
    ],
)
def test_a_manifest_that_leads_nowhere_is_refused(tmp_path: Path, manifest: str, words: str) -> None:
    path = tmp_path / "it.mar"
    with torchserve.zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest)

    with pytest.raises(ModelInvalid, match=words):
        imported(path, tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it.mar").write_bytes(b"no zip")

    with pytest.raises(ModelInvalid, match="is no archive of TorchServe"):
        imported(tmp_path / "it.mar", tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        imported(tmp_path / "none.mar", tmp_path)


def _encrypted(content: bytes) -> bytes:
    """Return a zip file whose members say that they are encrypted."""
    return content.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")


def _damaged(content: bytes) -> bytes:
    """Return a zip file whose compressed manifest is no deflate stream."""
    start = content.index(b"MANIFEST.json") + len("MANIFEST.json")
    return content[:start] + b"\xff" * 4 + content[start + 4 :]


def _other_names(content: bytes) -> bytes:
    """Return a zip file whose names say that they are UTF-8, and are not."""
    at = content.index(b"PK\1\2")
    return content[: at + 9] + b"\x08" + content[at + 10 : at + 46] + b"\xff" + content[at + 47 :]


def _other_compression(content: bytes) -> bytes:
    """Return a zip file that says that it is compressed by bzip2."""
    at = content.index(b"PK\1\2")
    return content[: at + 10] + b"\x0c" + content[at + 11 :]


@pytest.mark.parametrize("change", [_encrypted, _damaged, _other_names, _other_compression])
def test_a_hostile_archive_is_refused_in_words(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "it.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"serializedFile": "it.pth"}}')
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)

    with pytest.raises(ModelInvalid, match="is no archive of TorchServe"):
        imported(path, tmp_path)


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchserve, "read_checkpoint", lambda *_: pytest.fail("it was unpacked"))
    path = tmp_path / "it.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"serializedFile": "it.pth"}}')
        archive.writestr("it.pth", bytes(1_000_000))

    with pytest.raises(ModelInvalid, match="is no archive of TorchServe"):
        imported(path, tmp_path)
