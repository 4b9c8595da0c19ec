"""Imports packages that only an extra of beholder installs."""

import importlib
from typing import Any

from beholder.errors import ConfigError

__all__ = ["import_extra"]

# Packages by name, because beholder itself is on no package index.
_PACKAGES = {"onnxruntime": "onnxruntime", "torch": "torch onnx"}
# Advice to a person who installs a package, by its import name.
_ADVICE = {
    "torch": "plain torch from the default package index is a CUDA build of several gigabytes; its CPU build "
    "is enough, so install that first",
}


def import_extra(module: str, extra: str) -> Any:
    """Return the module.

    Args:
        module: Its import name.
        extra: The extra of beholder that installs it.

    Raises:
        ConfigError: It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = f" ({_ADVICE[module]})" if module in _ADVICE else ""
        raise ConfigError(
            f"{module} is not installed; run: pip install {_PACKAGES[extra]}{advice}"
        ) from error
