"""Reads a model archive of TorchServe (.mar): a zip file with a manifest, weights and names.

Source: pytorch/serve, model-archiver (MANIFEST.json) and ts/torch_handler/image_classifier.py, 0.12; read
2026-11-28.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint
from beholder.model.file_size import WEIGHTS_BYTES_MAX, check_size
from beholder.model.preprocessing_table import TORCHVISION
from beholder.model.sources.checkpoint_file import check_options, source_of_state
from beholder.model.sources.config_file import names_by_number
from beholder.model.sources.source import Description, Known, Source

__all__ = ["read_archive"]

_MANIFEST, _NAMES = "MAR-INF/MANIFEST.json", "index_to_name.json"
# The handler that resizes to 256, crops 224 and normalises as torchvision does.
_HANDLER = "image_classifier"
# What the archiver writes; other compressions fail in other ways.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Weights hardly shrink, and JSON does so tenfold; what shrinks more would fill the memory.
_RATIO_MAX = 100


def read_archive(file: Path, description: Description) -> Source:
    """Read an archive with the state dict of a ResNet; its Python files are not read.

    Args:
        file: The archive.
        description: What the user says.

    Raises:
        ConfigError: The file cannot be read, onnx is not installed, or an option is needed or has no
            effect.
        ModelInvalid: It is no archive, is too large, holds TorchScript, or no ResNet.
    """
    check_options(description)
    try:
        check_size(file, WEIGHTS_BYTES_MAX)
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            model = _json(archive, _MANIFEST, file)["model"]
            names = _json(archive, _NAMES, file) if _NAMES in members else None
            weights = _read(archive, model["serializedFile"])
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give the path of an archive") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelInvalid(
            f"{file} is no archive of TorchServe with a {_MANIFEST} and a serializedFile; make it anew by "
            "torch-model-archiver"
        ) from error
    where = f"{_NAMES} of {file}"
    # A name is the text itself, or stands behind WordNet's number: ["n01440764", "tench"].
    named = {
        key: name[-1] if isinstance(name, list) and name else name for key, name in (names or {}).items()
    }
    known = Known(
        where,
        form="TorchServe archive",
        labels=names_by_number(named, where) if names is not None else None,
        preprocessing=TORCHVISION if model.get("handler") == _HANDLER else None,
        preprocessing_from=f"the handler {_HANDLER}",
    )
    return source_of_state(file, read_checkpoint(file, memoryview(weights)), description, known)


def _json(archive: zipfile.ZipFile, name: str, file: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(_read(archive, name))
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"{name} of {file} is no JSON; make the archive anew") from error
    if not isinstance(table, dict):
        raise ModelInvalid(f"{name} of {file} holds no JSON object; make the archive anew")
    return table


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member; zipfile reads no more of it than its head says."""
    member = archive.getinfo(name)
    if member.compress_type not in _COMPRESSIONS or member.file_size > _RATIO_MAX * member.compress_size:
        raise zipfile.BadZipFile(name)
    return archive.read(member)
