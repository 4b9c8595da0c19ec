"""A bundle has the same bytes for the same inputs, and nothing that no serving process reads."""

import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

import beholder
from beholder.deploy import bundle
from beholder.errors import DeployError


def tree(folder: Path, *names: str) -> dict[str, Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"contents of {name}")
    return {name: folder / name for name in names}


def test_the_same_files_make_the_same_bundle_whenever_and_by_whomever_they_were_written(
    tmp_path: Path,
) -> None:
    names = ("lib/b.py", "bin/beholder", "lib/a.py")
    first, second = tree(tmp_path / "1", *names), tree(tmp_path / "2", *reversed(names))
    for path in second.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    made = [bundle._archive(files, tmp_path / "out") for files in (first, second)]
    assert made[0] == made[1]
    assert made[0].key == f"{made[0].sha256}.tar.gz"
    with tarfile.open(made[0].path) as archive:
        modes = {one.name: one.mode for one in archive}
    assert modes == {"bin/beholder": 0o755, "lib/a.py": 0o644, "lib/b.py": 0o644}


def test_another_byte_makes_another_bundle(tmp_path: Path) -> None:
    files = tree(tmp_path, "lib/a.py")
    first = bundle._archive(files, tmp_path / "out")
    files["lib/a.py"].write_text("Contents of lib/a.py")
    assert bundle._archive(files, tmp_path / "out") != first


@pytest.mark.parametrize(
    "name",
    [
        "openvino/libs/libopenvino_intel_gpu_plugin.so",
        "openvino/libs/libopenvino_tensorflow_lite_frontend.so.2641",
        "openvino/include/openvino/core/node.hpp",
        "numpy/lib/tests/test_io.py",
        "botocore/data/dynamodb/2012-08-10/service-2.json.gz",
        "click-8.5.1.dist-info/RECORD",
        "bin/uvicorn",
    ],
)
def test_what_no_serving_process_reads_is_left_out(name: str) -> None:
    assert not bundle._is_needed(name)


@pytest.mark.parametrize(
    "name",
    [
        "openvino/libs/libopenvino_intel_cpu_plugin.so",
        "openvino/libs/libopenvino_onnx_frontend.so.2641",
        "botocore/data/endpoints.json.gz",
        "botocore/data/sqs/2012-11-05/service-2.json.gz",
        "click-8.5.1.dist-info/METADATA",
        "numpy/testing/__init__.py",
    ],
)
def test_what_a_serving_process_reads_is_in_it(name: str) -> None:
    assert bundle._is_needed(name)


def test_each_service_that_the_source_makes_a_client_of_has_its_data_on_an_instance() -> None:
    made = re.compile(r"(?:create_client|AwsClient)\(\s*\"([a-z0-9-]+)\"")
    package = Path(beholder.__file__).parent
    services = {service for path in package.rglob("*.py") for service in made.findall(path.read_text())}
    assert "s3" in services
    assert [
        one for one in services if not bundle._is_needed(f"botocore/data/{one}/1/service-2.json.gz")
    ] == []


def test_packages_come_in_the_versions_that_are_installed_for_the_python_of_the_image() -> None:
    found = bundle._requirements("3.12")
    names = {one.partition("==")[0] for one in found}
    assert {"starlette", "boto3", "botocore", "openvino", "anyio"} <= names
    assert not {"torch", "onnxruntime", "pytest"} & names
    # Python 3.13 needs none of its own, and the image's 3.12 does.
    assert any(one.startswith("typing-extensions") for one in found)


def test_models_of_one_name_and_empty_folders_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "a/mushrooms/model.json", "b/mushrooms/model.json")
    with pytest.raises(DeployError):
        bundle._models([tmp_path / "a" / "mushrooms", tmp_path / "b" / "mushrooms"])
    with pytest.raises(DeployError):
        bundle._models([tmp_path / "nothing"])
    assert list(bundle._models([tmp_path / "a" / "mushrooms"])) == ["models/mushrooms/model.json"]


def make_wheel(folder: Path, tags: str) -> None:
    """Write a wheel of the package `tiny` whose one file tells the wheel's tags."""
    name = f"tiny-1-{tags}.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("tiny.py", tags)
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        wheel.writestr("tiny-1.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    (tmp_path / "index").mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "index")}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return tmp_path / "index"


def test_the_wheels_are_those_of_the_image_and_not_of_this_machine(index: Path, tmp_path: Path) -> None:
    wanted = "cp312-cp312-manylinux_2_28_x86_64"
    for tags in (
        wanted,
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp313-cp313-manylinux_2_28_x86_64",
        "cp312-cp312-macosx_11_0_arm64",
        "cp312-cp312-manylinux_2_28_aarch64",
    ):
        make_wheel(index, tags)
    bundle.install_wheels(["tiny==1"], tmp_path / "lib", "3.12")
    assert (tmp_path / "lib" / "tiny.py").read_text() == wanted


def test_a_wheel_for_a_newer_c_library_than_the_image_s_is_not_taken(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "cp312-cp312-manylinux_2_39_x86_64")
    with pytest.raises(DeployError, match=r"Python 3\.12 cannot be fetched: .*tiny==1"):
        bundle.install_wheels(["tiny==1"], tmp_path / "lib", "3.12")
