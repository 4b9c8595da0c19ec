"""Import a package that only an extra of beholder installs."""

import importlib
from typing import Any

from beholder.errors import ConfigError

__all__ = ["import_extra"]


def import_extra(module: str, extra: str) -> Any:
    """Return the module.

    Args:
        module: Its import name.
        extra: The extra of beholder that installs it.

    Raises:
        ConfigError: It is not installed; the sentence says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{module} is not installed; run: pip install 'beholder[{extra}]'") from error
