"""Read a torch checkpoint without running anything that it holds."""

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.extras import import_extra

__all__ = ["read_checkpoint"]

# torchvision writes the first digits of the SHA-256 into the name: resnet18-5c106cde.pth.
# Source: torch.hub.load_state_dict_from_url, parameter check_hash, torch 2.13.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state dict by name.

    Args:
        path: As torch.save wrote it, in its zip or its older form. Where the file's name ends in a hash, as
            torchvision's do, the file must have it.

    Raises:
        ConfigError: The file cannot be read, or torch is not installed.
        ModelInvalid: The file is damaged, or holds anything but a dict of tensors.
    """
    torch = import_extra("torch", "torch")
    _check_hash(path)
    try:
        # weights_only refuses every pickle that would call something.
        state = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a checkpoint") from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ModelInvalid(f"{path} is no checkpoint of plain tensors: {error}") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise ModelInvalid(f"{path} is no state dict; save model.state_dict(), not the model")
    return {str(name): tensor.detach().float().numpy() for name, tensor in state.items()}


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
