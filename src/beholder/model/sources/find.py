"""Finds out what the user gave: which form of a model a file or a folder is."""

from collections.abc import Callable, Mapping
from pathlib import Path

from beholder.errors import ConfigError
from beholder.model.sources.checkpoint_file import read_checkpoint_file
from beholder.model.sources.hugging_face import read_folder
from beholder.model.sources.onnx_file import read_onnx_file
from beholder.model.sources.packaged import PACKAGED, read_packaged
from beholder.model.sources.source import Description, Source
from beholder.model.sources.torchserve import read_archive

__all__ = ["is_packaged", "read_source"]

_READERS: Mapping[str, Callable[[Path, Description], Source]] = {
    ".onnx": read_onnx_file,
    ".pth": read_checkpoint_file,
    ".pt": read_checkpoint_file,
    ".bin": read_checkpoint_file,
    ".safetensors": read_checkpoint_file,
    ".mar": read_archive,
}


def is_packaged(path: Path) -> bool:
    """Say whether a path is the name of a model that is a package, and no file."""
    return str(path) in PACKAGED and not path.exists()


def read_source(path: Path, description: Description) -> Source:
    """Read a model, whatever form it has.

    Args:
        path: A file, a folder, or the name of a model that is a package.
        description: What the user says of it.

    Raises:
        ConfigError: The form is not known, a file cannot be read, or an option is needed or has no effect.
        ModelInvalid: The model cannot be used.
    """
    if is_packaged(path):
        return read_packaged(str(path), description)
    if path.is_dir():
        return read_folder(path, description)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"{path} cannot be imported; give a folder with config.json, a file that ends in "
            f"{', '.join(_READERS)}, or the name {' or '.join(PACKAGED)}"
        )
    return reader(path, description)
