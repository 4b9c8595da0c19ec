"""Finds the names of a model's classes."""

import json
from collections.abc import Sequence
from pathlib import Path

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.file_size import TEXT_BYTES_MAX, check_size
from beholder.model.sources.source import Description

__all__ = ["find_labels", "read_label_file"]

_BACKGROUND = "background"


def find_labels(
    file: Path, description: Description, own: Sequence[str] | None = None, own_from: str = ""
) -> tuple[tuple[str, ...], str]:
    """Return the names by class number, and where they stand.

    Args:
        file: The model's file, for messages.
        description: Its label file counts before the model's own names.
        own: The names that the model's files hold; None if they hold none.
        own_from: Where those stand.

    Raises:
        ConfigError: There are no names, or the label file cannot be read.
        ModelInvalid: The label file has another form.
    """
    if description.labels is not None:
        labels, where = read_label_file(description.labels), str(description.labels)
    elif own is not None:
        labels, where = tuple(own), own_from
    else:
        raise ConfigError(f"{file} does not name its classes; give a file with one name per line by --labels")
    if description.has_background:
        labels, where = (_BACKGROUND, *labels), f"{where}, behind a background"
    return labels, where


def read_label_file(path: Path) -> tuple[str, ...]:
    """Return the lines of a label file; an empty line between names is returned, and refused with its number.

    Raises:
        ConfigError: It cannot be read.
        ModelInvalid: It is empty, too large, not UTF-8, or JSON.
    """
    try:
        # Empty lines at the end are ignored.
        check_size(path, TEXT_BYTES_MAX)
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file with one class name per line") from error
    except UnicodeDecodeError as error:
        raise ModelInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error
    if not text:
        raise ModelInvalid(f"{path} is empty; write one class name per line, by class number")
    if _is_json(text):
        raise ModelInvalid(
            f"{path} is JSON; write one class name per line, by class number, and nothing else"
        )
    return tuple(text.split("\n"))


def _is_json(text: str) -> bool:
    """Say whether a text is a JSON list or object, which may have as many lines as there are classes."""
    if not text.startswith(("[", "{")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
