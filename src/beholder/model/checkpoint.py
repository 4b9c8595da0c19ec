"""Finds the state dict in a checkpoint, of torch or of safetensors, without running code that it holds.

Source: huggingface/safetensors, README.md, section Format; read 2026-11-28.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.file_size import TEXT_BYTES_MAX, WEIGHTS_BYTES_MAX, check_size
from beholder.model.folder import file_sha256
from beholder.model.mapped_file import map_file
from beholder.model.torch_file import TorchTensor, read_torch_file

__all__ = ["read_checkpoint", "read_safetensors"]

# The keys under which training scripts save the state dict, beside the optimizer's state and the epoch.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
# torchvision writes the first digits of the SHA-256 into the name: resnet18-5c106cde.pth.
# Source: torch.hub.load_state_dict_from_url, parameter check_hash, torch 2.13.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
# safetensors' names of types; numpy has no bfloat16, which is the upper half of a float32.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
_HEAD_BYTES = 8


def read_checkpoint(path: Path, content: memoryview | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state dict by name, as float32; those that are it are views of the mapped file.

    Args:
        path: As torch.save wrote it, in its zip or its older form: the state dict, or a dict that has it as
            `state_dict`, `model` or the like. A prefix that all names share, such as `module.`, is left out.
            If the file's name ends in a hash, as torchvision's do, the file must have that hash.
        content: What to read instead of the file at the path, which is its archive.

    Raises:
        ConfigError: The file cannot be read.
        ModelInvalid: The file is damaged or too large, or holds no dict of tensors.
    """
    if content is None:
        content = _checked(path)
    saved, array = read_torch_file(content, path)
    tensors = _find_tensors(saved)
    if tensors is None:
        raise ModelInvalid(f"{path} is no state dict; save model.state_dict(), not the model")
    return {str(name): array(tensor) for name, tensor in _without_prefix(tensors).items()}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file by name, as float32, without a prefix that all names share.

    Those that are float32 are views of the mapped file.

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
    return values.astype(np.float32, copy=False)


def _find_tensors(saved: Any) -> dict[str, TorchTensor] | None:
    """Return the dict itself if it holds tensors only, or the first such dict inside it."""
    if not isinstance(saved, dict):
        return None
    for found in (saved, *(saved.get(key) for key in _STATE_KEYS)):
        if isinstance(found, dict) and found and all(isinstance(one, TorchTensor) for one in found.values()):
            return found
    return None


def _without_prefix(tensors: dict[str, Any]) -> dict[str, Any]:
    """Remove the prefixes that all names share: wrappers (DataParallel, compile) add `module.` and more."""
    while len(first := {str(name).partition(".")[0] for name in tensors}) == 1 and len(tensors) > 1:
        prefix = f"{first.pop()}."
        tensors = {str(name).removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _checked(path: Path) -> memoryview:
    """Return a file that has the hash in its name, mapped."""
    wanted = _HASH_IN_NAME.search(path.name)
    try:
        check_size(path, WEIGHTS_BYTES_MAX)
        actual, content = file_sha256(path), map_file(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    if wanted is not None and not actual.startswith(wanted.group(1)):
        raise ModelInvalid(
            f"{path} has sha256 {actual}, its name says {wanted.group(1)}; "
            "the file is damaged, fetch it again"
        )
    return content
