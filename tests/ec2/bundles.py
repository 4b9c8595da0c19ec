"""The bundle of this checkout, for instances that boot: made once, of what is installed here already."""

import fcntl
import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from beholder.deploy.bundle import Bundle, build_bundle, install_wheels

__all__ = ["bundle_in", "link_installed"]

# What a guest finds on its PATH.
_SYSTEM_PYTHON = "/usr/bin/python3"


def bundle_in(folder: Path) -> Bundle:
    """Return the one bundle in a folder, made by the first process that asks for it.

    It is for the Python of this machine's own, which guests show as their image's.
    """
    with (folder / "bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in folder.glob(f"{'?' * 64}.tar.gz"):
            return Bundle(path, path.name.removesuffix(".tar.gz"))
        python = _version_of(_SYSTEM_PYTHON)
        # Wheels for another Python have to be fetched, which takes minutes.
        is_ours = python == _version_of(sys.executable)
        return build_bundle(folder, python=python, install=link_installed if is_ours else install_wheels)


def _version_of(python: str) -> str:
    tell = "import sys; print(*sys.version_info[:2], sep='.')"
    return subprocess.run([python, "-c", tell], capture_output=True, text=True, check=True).stdout.strip()


def link_installed(requirements: Sequence[str], folder: Path, _python: str) -> None:
    """Do as `install_wheels` does, with the files of packages that are installed here."""
    for requirement in requirements:
        package = importlib.metadata.distribution(requirement.partition("==")[0])
        for file in package.files or ():
            # Commands lie outside the folder of packages.
            if ".." not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).symlink_to(package.locate_file(file))
