"""Imports packages that only an extra of beholder installs."""

import importlib
import importlib.util
from functools import cache
from typing import Any

from beholder.errors import ConfigError

__all__ = ["import_extra", "is_installed"]

# Packages by name, because beholder itself is on no package index.
_PACKAGES = {
    "onnxruntime": "onnxruntime",
    "onnx": "onnx",
    "quantize": "onnxruntime onnx",
    "heic": "pillow-heif",
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
        raise ConfigError(f"{module} is not installed; run: pip install {_PACKAGES[extra]}") from error


@cache
def is_installed(module: str) -> bool:
    """Return whether an extra's module is installed, without importing it.

    Args:
        module: Its import name.
    """
    return importlib.util.find_spec(module) is not None
