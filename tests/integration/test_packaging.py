"""Wheel and sdist: what they hold, and that the wheel serves photos where there is no checkout."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from beholder import __version__
from ec2.bundles import link_installed
from helpers.source import ROOT, tracked_files

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without the variables of this one's environment that could lead to the checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BEHOLDER_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed(requirements: Sequence[str]) -> set[str]:
    """Return the names of the packages that are needed, with those that they need themselves."""
    found: set[str] = set()
    left = [Requirement(one) for one in requirements]
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        if name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.add(name)
            left += [Requirement(text) for text in importlib.metadata.requires(one.name) or ()]
    return found


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    return folder / f"beholder-{__version__}.tar.gz"


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sdist, as pip makes it for a user who installs the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / f"beholder-{__version__}"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    return folder / f"beholder-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel and what it says that it needs alone."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-index", "--no-deps")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (about,) = importlib.metadata.distributions(name="beholder", path=[packages])
    link_installed(sorted(needed(about.requires or ())), Path(packages), "")
    return folder / "bin"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    tracked = {
        path.relative_to("src").as_posix() for path in tracked_files() if path.is_relative_to("src/beholder")
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == tracked
    for name in ("deploy/template.yaml", "deploy/prices.json", "web/pages/index.html"):
        assert f"beholder/{name}" in held
    assert any(name.endswith("/model.onnx") for name in held)


def test_the_wheel_holds_the_licences(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    licences = f"beholder-{__version__}.dist-info/licenses"
    for name in ("LICENSE", "NOTICE"):
        assert archive.read(f"{licences}/{name}") == (ROOT / name).read_bytes()


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "beholder", "--version", cwd=tmp_path) == f"beholder, version {__version__}\n"


def test_the_installed_service_recognises_photos_without_the_checkout(
    installed: Path, tmp_path: Path, samples: Path
) -> None:
    # given
    (tmp_path / "photos").mkdir()
    shutil.copy(samples / "coffee.jpg", tmp_path / "photos")
    where = run(installed / "python", "-c", "import beholder; print(beholder.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    # when
    options = ("--exit", "--port", "0", "--workers", "1", "--data-dir", tmp_path / "data")
    told = run(installed / "beholder", "demo", *options, "photos", cwd=tmp_path)
    # then
    assert re.search(r"^coffee\.jpg +espresso ", told, re.MULTILINE)
    assert "1 of 1 photos recognised" in told
