"""Model folders on their way to another machine: as a folder, or as one file, and back, byte for byte."""

import shutil
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.file_size import TEXT_BYTES_MAX, WEIGHTS_BYTES_MAX
from beholder.model.folder import GRAPH_FILE, MODEL_FILE, is_model_name, model_files, read_model
from beholder.model.new_folder import check_name, new_model_folder
from beholder.model.port import Classifier, ModelSpec
from beholder.model.registry import ModelRegistry

__all__ = ["export_model", "import_exported", "is_exported"]

_ZIP, _TAR = ".zip", ".tar"
# model.toml, graph, labels, report.
_FILES_MAX = 4
# The same model gives the same archive.
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644
# What zipfile and tarfile raise in a damaged file.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)


def is_exported(path: Path) -> bool:
    """Say whether a path is a model folder, or an archive as `export_model` writes them."""
    return (path / MODEL_FILE).is_file() or path.suffix.lower() in (_ZIP, _TAR)


def export_model(spec: ModelSpec, destination: Path) -> None:
    """Copy a model folder.

    Args:
        spec: The model.
        destination: A file that ends in .zip or .tar, or a folder; it must not exist.

    Raises:
        ConfigError: The destination exists or cannot be written.
    """
    if destination.exists():
        raise ConfigError(f"{destination} exists; remove it, or give another name")
    try:
        files = model_files(spec.onnx_path.parent)
        if destination.suffix.lower() not in (_ZIP, _TAR):
            with new_model_folder(destination) as folder:
                for path in files:
                    shutil.copyfile(path, folder / path.name)
            return
        part = destination.with_name(f".{destination.name}.part")
        try:
            (_write_zip if destination.suffix.lower() == _ZIP else _write_tar)(part, files)
            part.rename(destination)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        where = error.filename or destination
        raise ConfigError(f"{where}: {error.strerror}; the export was undone") from error


def import_exported(
    path: Path, registry: ModelRegistry, *, load: Callable[[ModelSpec], Classifier]
) -> tuple[ModelSpec, Path]:
    """Take an exported model back under the name and version that it has; it is loaded before it is kept.

    Args:
        path: A folder or an archive.
        registry: The models that are there.
        load: Returns a classifier.

    Returns:
        The model, and its new folder.

    Raises:
        ConfigError: It cannot be read, or its name and version are taken.
        ModelInvalid: It holds no model folder, or one that cannot be used.
    """
    with _files(path) as files:
        texts = _name_and_version(path, files)
        destination = registry.folder_for(*texts)
        check_name(texts[0], destination)
        with new_model_folder(destination) as folder:
            for name, file in files.items():
                with file.open() as source, (folder / name).open("xb") as copy:
                    shutil.copyfileobj(source, copy)
            try:
                load(read_model(folder)).warm_up()
            except ModelInvalid as error:
                problems = [problem.replace(str(folder), str(path)) for problem in error.problems]
                raise ModelInvalid(problems) from error
    return read_model(destination), destination


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a folder or an archive: its size, None if it is no plain file, and what opens it."""

    size: int | None
    open: Callable[[], IO[bytes]]


@contextmanager
def _files(path: Path) -> Iterator[Mapping[str, _File]]:
    """Give the files of an exported model by name, checked: no name leads elsewhere, no file is too large."""
    try:
        with ExitStack() as stack:
            found = _found(path, stack)
            sizes = [file.size for file in found.values()]
            if (
                MODEL_FILE not in found
                or len(found) > _FILES_MAX
                or any(Path(name).name != name or name.startswith(".") for name in found)
                or any(size is None for size in sizes)
            ):
                raise ModelInvalid(
                    f"{path} is no exported model: it needs {MODEL_FILE}, {GRAPH_FILE} and the labels, "
                    "without a folder around them and no other files; make it by `beholder models export`"
                )
            if sum(filter(None, sizes)) > WEIGHTS_BYTES_MAX:
                raise ModelInvalid(f"{path} has files of more than {WEIGHTS_BYTES_MAX / 1e9:.0f} GB")
            yield found
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of an exported model") from error
    except _DAMAGED as error:
        raise ModelInvalid(f"{path} is damaged, or no archive; copy it again") from error


def _found(path: Path, stack: ExitStack) -> dict[str, _File]:
    if path.is_dir():
        return {file.name: _File(file.stat().st_size, partial(_opened_file, file)) for file in _listed(path)}
    if path.suffix.lower() == _ZIP:
        zipped = stack.enter_context(zipfile.ZipFile(path))
        return {one.filename: _File(one.file_size, partial(zipped.open, one)) for one in zipped.infolist()}
    tarred = stack.enter_context(tarfile.open(path, "r:"))  # noqa: SIM115 -- the stack closes it
    return {
        one.name: _File(one.size if one.isfile() else None, partial(_opened_member, tarred, one))
        for one in tarred
    }


def _listed(folder: Path) -> list[Path]:
    read_model(folder)
    return model_files(folder)


def _opened_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _opened_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(member.name)
    return file


def _name_and_version(path: Path, files: Mapping[str, _File]) -> tuple[str, str]:
    """Return what `model.toml` says; the rest of it is checked when the folder is read."""
    with files[MODEL_FILE].open() as file:
        text = file.read(TEXT_BYTES_MAX)
    try:
        table = tomllib.loads(text.decode("utf-8-sig"))
    except ValueError as error:
        raise ModelInvalid(f"{MODEL_FILE} of {path} is no TOML; export the model again") from error
    name, version = table.get("name"), table.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not is_model_name(name):
        raise ModelInvalid(f"{MODEL_FILE} of {path} has no name and version; export the model again")
    return name, version


def _write_zip(destination: Path, files: Sequence[Path]) -> None:
    with zipfile.ZipFile(destination, "w") as archive:
        for path in files:
            member = zipfile.ZipInfo(path.name, _TIME)
            member.external_attr = _MODE << 16
            member.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(member, "w") as copy:
                shutil.copyfileobj(source, copy)


def _write_tar(destination: Path, files: Sequence[Path]) -> None:
    with tarfile.open(destination, "w") as archive:
        for path in files:
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = path.stat().st_size, _MODE
            with path.open("rb") as source:
                archive.addfile(member, source)
