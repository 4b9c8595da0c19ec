"""Makes a model folder that is complete or does not exist.

It is written beside its destination under a hidden name, and then renamed.
"""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from beholder.errors import ConfigError
from beholder.model.folder import NAME_RULE, is_model_name
from beholder.model.registry import ModelRegistry

__all__ = ["check_name", "new_model_folder"]

_LEFTOVER_S = 3600.0


@contextlib.contextmanager
def new_model_folder(destination: Path) -> Iterator[Path]:
    """Give a hidden folder to fill, which gets its name if that succeeds, and vanishes if not.

    Args:
        destination: The folder's name; its parents are made.

    Raises:
        ConfigError: The destination exists or cannot be written.
    """
    folder = _new_folder(destination.parent)
    try:
        yield folder
        # mkdtemp admits only its owner, and another user may serve the model.
        folder.chmod(0o755)
        # Fails if another import was quicker, because a rename does not replace a folder with files in it.
        folder.rename(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _is_taken(destination) from error
        what = str(error.filename or destination).replace(str(folder), str(destination))
        raise ConfigError(f"{what}: {error.strerror}; the import was undone") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_name(name: str, destination: Path) -> None:
    """Refuse a name before a path is made of it: an empty name would mean the folder of all models.

    Raises:
        ConfigError: The name cannot be used, or is taken, or the destination is.
    """
    if not is_model_name(name):
        raise ConfigError(f"the name '{name}' cannot be used; {NAME_RULE}")
    # A built-in model is found first, so another model of its name could never be served.
    if any(name == entry.name for entry in ModelRegistry().list_models()):
        raise ConfigError(f"'{name}' is the name of the built-in model; give another")
    if destination.exists():
        raise _is_taken(destination)
    for entry in ModelRegistry(destination.parent).list_models():
        if entry.name == name:
            raise ConfigError(f"{entry.folder} already has the name '{name}'; give another")


def _new_folder(parent: Path) -> Path:
    """Return a new hidden folder."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".import-", dir=parent))
        _remove_leftovers(folder)
    except OSError as error:
        raise ConfigError(f"{parent} cannot be written ({error.strerror}); give another") from error
    return folder


def _remove_leftovers(new: Path) -> None:
    """Remove what killed imports and removals left, which live ones finish within an hour.

    Args:
        new: A folder that was just made beside them; its time is the present.
    """
    oldest_s = new.stat().st_mtime - _LEFTOVER_S
    for pattern in (".import-*", ".removed-*"):
        for folder in new.parent.glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # another import has just ended
                if folder.stat().st_mtime < oldest_s:
                    shutil.rmtree(folder, ignore_errors=True)


def _is_taken(destination: Path) -> ConfigError:
    return ConfigError(
        f"{destination} exists; remove it first (beholder models remove {destination.name}), "
        "or give the model another name"
    )
