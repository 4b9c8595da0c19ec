"""The bundle: one archive with all that an instance needs besides its image's own Python.

It is made on the deployer's machine, whatever that runs: the packages come as wheels for Linux on x86-64 and
for the image's Python, in the versions that are installed here. The same inputs give the same bytes.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import beholder
from beholder.errors import DeployError

__all__ = ["STOCK_PYTHON", "Bundle", "build_bundle", "install_wheels", "read_models"]

STOCK_PYTHON = "3.12"
"""The version of `python3` on the stock image, Ubuntu 24.04."""

_INSTANCE_FILES = Path(__file__).parent / "instance"
_PACKAGE = Path(beholder.__file__).parent
_EXTRAS = ("aws",)
_MODELS = "models/"
# A wheel names the C library that it needs at least. Ubuntu 24.04 has 2.39; Debian 12, the oldest image with
# Python 3.11, has 2.36. Source: https://peps.python.org/pep-0600/ (2026-11)
_PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 37)))
_UV_PLATFORM = "x86_64-manylinux_2_36"
# What no serving process reads. Patterns of paths below the folder of packages; measured, they are a fifth.
_LEFT_OUT = (
    "bin/*",
    "*.pyc",
    "*.pyi",
    "*.dist-info/RECORD",  # names the scripts in bin, whose first line is a path of this machine
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "*.dist-info/uv_*",
    "*/tests/*",
    "*/include/*",
    "openvino/cmake/*",
    "openvino/tools/*",
    "openvino/libs/cache.json",  # of the GPU plugin
    "openvino/libs/libopenvino_intel_gpu_plugin*",
    "openvino/libs/libopenvino_intel_npu_plugin*",
    "openvino/libs/libopenvino_gguf_frontend*",
    "openvino/libs/libopenvino_jax_frontend*",
    "openvino/libs/libopenvino_paddle_frontend*",
    "openvino/libs/libopenvino_pytorch_frontend*",
    "openvino/libs/libopenvino_tensorflow_*",
)
# Level 6 makes a tenth less, and takes twice as long; unpacking takes the same time.
_GZIP_LEVEL = 1
_AWS_DATA = "botocore/data/"
_AWS_SERVICES = (
    "autoscaling",
    "cloudformation",
    "ec2",
    "elbv2",
    "logs",
    "s3",
    "sqs",
    "sso",
    "sso-oidc",
    "sts",
)


@dataclass(frozen=True)
class Bundle:
    """A bundle on this machine's disk.

    Args:
        path: The archive.
        sha256: Of its bytes, in hexadecimal.
    """

    path: Path
    sha256: str

    @property
    def key(self) -> str:
        """Its key in the bundle bucket."""
        return self.path.name


def install_wheels(requirements: Sequence[str], folder: Path, python: str) -> None:
    """Install packages for the image into a folder, by pip or else uv.

    Args:
        requirements: Packages, as pip takes them; what they require themselves is not installed.
        folder: Made if it does not exist.
        python: Version of `python3` on the image.

    Raises:
        DeployError: Neither pip nor uv is installed here, or it cannot fetch them.
    """
    common = ["install", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python]
    common += ["--target", str(folder)]
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip"):
        platforms = [f"--platform={one}" for one in _PLATFORMS]
        command = [sys.executable, "-m", "pip", *common, "--no-compile", *platforms, *requirements]
    elif uv:
        command = [uv, "pip", *common, "--python-platform", _UV_PLATFORM, *requirements]
    else:
        raise DeployError("the bundle's packages are fetched by pip or uv, and neither is installed here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own arguments
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or [
            done.stderr.strip()
        ]
        raise DeployError(
            f"the packages for Linux on x86-64 and Python {python} cannot be fetched: {lines[-1]}"
        )


def build_bundle(
    folder: Path,
    models: Sequence[Path] = (),
    *,
    python: str = STOCK_PYTHON,
    install: Callable[[Sequence[str], Path, str], None] = install_wheels,
) -> Bundle:
    """Build the bundle of this version of beholder.

    Args:
        folder: Where the archive is written, named by its SHA-256.
        models: Folders of imported models, each with a name of its own.
        python: Version of `python3` on the image, such as '3.12'.
        install: Puts packages for that Python into a folder, as `install_wheels` does.

    Raises:
        DeployError: The packages cannot be fetched, or a model's folder cannot be used.
    """
    with tempfile.TemporaryDirectory() as temporary:
        packages = Path(temporary) / "packages"
        install(_requirements(python), packages, python)
        files = {
            **_below(_INSTANCE_FILES, ""),
            **{f"lib/{name}": path for name, path in _below(packages).items() if _is_needed(name)},
            **_below(_PACKAGE, "lib/beholder/", without="__pycache__"),
            **_models(models),
        }
        return _archive(files, folder)


def read_models(archive: Path, folder: Path) -> list[Path]:
    """Unpack the models of a bundle into a folder, and return a folder for each.

    Args:
        archive: The bundle.
        folder: Where `models/` is made.

    Raises:
        DeployError: The archive is no bundle.
    """
    try:
        with tarfile.open(archive) as bundle:
            members = [one for one in bundle if one.name.startswith(_MODELS)]
            bundle.extractall(folder, members, filter="data")
    except (tarfile.TarError, OSError) as exc:
        raise DeployError(f"{archive.name} is no bundle: {exc}") from exc
    return sorted({folder / _MODELS / one.name.split("/")[1] for one in members})


def _requirements(python: str) -> list[str]:
    """Return what has to be installed beside beholder itself, each in the version that is installed here."""
    target = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    found: dict[str, str] = {}
    waiting = list(_required("beholder", _EXTRAS, target))
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found:
            continue
        try:
            found[name] = f"{name}=={importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            # Python 3.13 does without what 3.12 needs.
            found[name] = f"{name}{one.specifier}"
        waiting += _required(name, one.extras, target)
    return sorted(found.values())


def _required(
    name: str, extras: Sequence[str] | set[str], target: Mapping[str, str]
) -> Iterator[Requirement]:
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        if name == "beholder":
            raise DeployError(
                "the bundle is made of an installed beholder; run pip install '.[aws]'"
            ) from None
        return
    for line in lines:
        one = Requirement(line)
        marker = one.marker
        if marker is None or any(marker.evaluate({**target, "extra": extra}) for extra in ("", *extras)):
            yield one


def _is_needed(name: str) -> bool:
    if name.startswith(_AWS_DATA):
        service, _, rest = name.removeprefix(_AWS_DATA).partition("/")
        return not rest or service in _AWS_SERVICES
    return not any(fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def _models(folders: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        prefix = f"{_MODELS}{folder.resolve().name}/"
        files = _below(folder, prefix)
        if not files or any(name.startswith(prefix) for name in found):
            raise DeployError(f"{folder} is no model's folder, or one of two that have the same name")
        found |= files
    return found


def _below(folder: Path, prefix: str = "", without: str = "") -> dict[str, Path]:
    """Return all files below a folder, by the names that they get."""
    return {
        prefix + path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and without not in path.relative_to(folder).parts
    }


def _archive(files: Mapping[str, Path], folder: Path) -> Bundle:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tar.gz", delete=False) as written:
        path = Path(written.name)
        # Neither the archive nor its members tell when or by whom they were made.
        with (
            gzip.GzipFile("", "wb", _GZIP_LEVEL, written, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in sorted(files):
                member = tarfile.TarInfo(name)
                member.size = files[name].stat().st_size
                member.mode = 0o755 if name.startswith("bin/") else 0o644
                with files[name].open("rb") as content:
                    archive.addfile(member, content)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return Bundle(path.rename(folder / f"{sha256}.tar.gz"), sha256)
