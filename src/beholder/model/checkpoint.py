"""Reads the arrays of a checkpoint, of torch or of safetensors, without running code that it holds.

Source: huggingface/safetensors, README.md, section Format; read 2026-11-28.
"""

import hashlib
import json
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.extras import import_extra
from beholder.model.file_size import TEXT_BYTES_MAX, WEIGHTS_BYTES_MAX, check_size
from beholder.model.mapped_file import map_file

__all__ = ["read_checkpoint", "read_safetensors"]

# The keys under which training scripts save the state dict, beside the optimizer's state and the epoch.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
# torchvision writes the first digits of the SHA-256 into the name: resnet18-5c106cde.pth.
# Source: torch.hub.load_state_dict_from_url, parameter check_hash, torch 2.13.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
# Before, a file could get around weights_only. Source: GitHub advisory, CVE-2026-24747 (2026-01).
_TORCH_MIN = (2, 10)
_NUMBER = re.compile(r"\d+")
# What torch's unpickler raises in a damaged file.
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    AssertionError,
    AttributeError,
    LookupError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
# safetensors' names of types; numpy has no bfloat16, which is the upper half of a float32.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
_HEAD_BYTES = 8


def read_checkpoint(path: Path, content: IO[bytes] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state dict by name.

    Args:
        path: As torch.save wrote it, in its zip or its older form: the state dict, or a dict that has it as
            `state_dict`, `model` or the like. A prefix that all names share, such as `module.`, is left out.
            If the file's name ends in a hash, as torchvision's do, the file must have that hash.
        content: What to read instead of the file at the path, which is its archive.

    Raises:
        ConfigError: The file cannot be read, or torch is not installed, or too old to be safe.
        ModelInvalid: The file is damaged or too large, or holds no dict of tensors.
    """
    if content is None:
        _check_hash(path)
    _check_is_no_script(path, content)
    torch = import_extra("torch", "torch")
    _check_version(torch.__version__)
    try:
        # weights_only refuses every pickle that would call a function.
        state = torch.load(content or path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    except _DAMAGED as error:
        raise ModelInvalid(
            f"{path} is no checkpoint of plain tensors: {_reason(error)}; save model.state_dict() alone"
        ) from error
    tensors = _find_tensors(state, torch.is_tensor)
    if tensors is None:
        raise ModelInvalid(f"{path} is no state dict; save model.state_dict(), not the model")
    return {str(name): tensor.detach().float().numpy() for name, tensor in _without_prefix(tensors).items()}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file by name, as float32, without a prefix that all names share.

    Args:
        path: The file.

    Raises:
        ConfigError: The file cannot be read.
        ModelInvalid: The file is damaged or too large, or has a type of numbers that is not read.
    """
    try:
        check_size(path, WEIGHTS_BYTES_MAX)
        content = map_file(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    start = _HEAD_BYTES + int.from_bytes(content[:_HEAD_BYTES], "little")
    try:
        table = json.loads(bytes(content[_HEAD_BYTES : min(start, TEXT_BYTES_MAX)]))
        table.pop("__metadata__", None)
        _check_size(table, len(content))
        arrays = {name: _array(content, start, **entry) for name, entry in table.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ModelInvalid(
            f"{path} is no safetensors file of floats, or damaged; copy or save it again"
        ) from error
    return _without_prefix(arrays)


def _check_size(table: dict[str, Any], bytes_max: int) -> None:
    """Refuse arrays that lie upon each other, which would take more memory than the file."""
    spans = [entry["data_offsets"] for entry in table.values()]
    if sum(max(0, end - begin) for begin, end in spans) > bytes_max:
        raise ValueError(bytes_max)


def _array(
    content: memoryview, start: int, *, dtype: str, shape: list[int], data_offsets: list[int]
) -> NDArray[Any]:
    begin, end = data_offsets
    kind = np.dtype(_TYPES[dtype])
    if min([0, *shape]) < 0 or not 0 <= begin <= end or end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(shape)
    values = np.frombuffer(content[start + begin : start + end], kind).reshape(shape)
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _check_version(version: str) -> None:
    """Refuse a torch whose weights_only a hostile file gets around."""
    if tuple(map(int, _NUMBER.findall(version)[:2])) < _TORCH_MIN:
        least = ".".join(map(str, _TORCH_MIN))
        raise ConfigError(
            f"torch {version} may run code that a checkpoint holds; run: pip install 'torch>={least}'"
        )


def _check_is_no_script(path: Path, content: IO[bytes] | None) -> None:
    """Refuse a TorchScript archive, a program with weights, with the command that exports it."""
    try:
        with zipfile.ZipFile(content or path) as archive:
            is_script = any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        is_script = False
    finally:
        if content is not None:
            content.seek(0)
    if is_script:
        raise ModelInvalid(
            f"{path} is TorchScript, a program; export it where torch is installed, and import the "
            f"ONNX file: python -c \"import torch; m = torch.jit.load('{path.name}').eval(); "
            "torch.onnx.export(m, torch.zeros(1, 3, 224, 224), 'model.onnx', dynamo=False)\""
        )


def _reason(error: Exception) -> str:
    """Return why torch refuses the file, without its advice to load the file with code execution."""
    if "weights_only" in str(error) or "Weights only" in str(error):
        return "it holds a whole model or other Python objects, which are not read because that runs them"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _find_tensors(state: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any] | None:
    """Return the dict itself if it holds tensors only, or the first such dict inside it."""
    if not isinstance(state, dict):
        return None
    for found in (state, *(state.get(key) for key in _STATE_KEYS)):
        if isinstance(found, dict) and found and all(is_tensor(value) for value in found.values()):
            return found
    return None


def _without_prefix(tensors: dict[str, Any]) -> dict[str, Any]:
    """Remove the prefixes that all names share: wrappers (DataParallel, compile) add `module.` and more."""
    while len(first := {str(name).partition(".")[0] for name in tensors}) == 1 and len(tensors) > 1:
        prefix = f"{first.pop()}."
        tensors = {str(name).removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check_hash(path: Path) -> None:
    wanted = _HASH_IN_NAME.search(path.name)
    try:
        check_size(path, WEIGHTS_BYTES_MAX)
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    if wanted is not None and not actual.startswith(wanted.group(1)):
        raise ModelInvalid(
            f"{path} has sha256 {actual}, its name says {wanted.group(1)}; "
            "the file is damaged, fetch it again"
        )
