"""Reads a torch checkpoint without running code that it holds."""

import hashlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.extras import import_extra

__all__ = ["read_checkpoint"]

# The keys under which training scripts save the state dict, beside the optimizer's state and the epoch.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
# torchvision writes the first digits of the SHA-256 into the name: resnet18-5c106cde.pth.
# Source: torch.hub.load_state_dict_from_url, parameter check_hash, torch 2.13.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state dict by name.

    Args:
        path: As torch.save wrote it, in its zip or its older form: the state dict, or a dict that has it as
            `state_dict`, `model` or the like. A prefix that all names share, such as `module.`, is left out.
            If the file's name ends in a hash, as torchvision's do, the file must have that hash.

    Raises:
        ConfigError: The file cannot be read, or torch is not installed.
        ModelInvalid: The file is damaged, or holds no dict of tensors.
    """
    torch = import_extra("torch", "torch")
    _check_hash(path)
    try:
        # weights_only refuses every pickle that would call a function.
        state = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ModelInvalid(
            f"{path} is no checkpoint of plain tensors: {_reason(error)}; save model.state_dict() alone"
        ) from error
    tensors = _find_tensors(state, torch.is_tensor)
    if tensors is None:
        raise ModelInvalid(f"{path} is no state dict; save model.state_dict(), not the model")
    return {str(name): tensor.detach().float().numpy() for name, tensor in _without_prefix(tensors).items()}


def _reason(error: Exception) -> str:
    """Return why torch refuses the file, without its advice to load the file with code execution."""
    if "TorchScript" in str(error):
        return "it is a TorchScript archive"
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
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    if wanted is not None and not actual.startswith(wanted.group(1)):
        raise ModelInvalid(
            f"{path} has sha256 {actual}, its name says {wanted.group(1)}; "
            "the file is damaged, fetch it again"
        )
