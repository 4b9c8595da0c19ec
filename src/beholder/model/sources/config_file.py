"""Reads the JSON files that lie beside a model."""

import json
from pathlib import Path
from typing import Any

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.file_size import TEXT_BYTES_MAX, check_size

__all__ = ["names_by_number", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ConfigError: It cannot be read.
        ModelInvalid: It holds no JSON object, or is too large.
    """
    try:
        check_size(path, TEXT_BYTES_MAX)
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; put the model's own file there") from error
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"{path} is no JSON; copy it again") from error
    if not isinstance(table, dict):
        raise ModelInvalid(f"{path} holds no JSON object; copy it again")
    return table


def names_by_number(table: Any, where: str) -> tuple[str, ...]:
    """Return class names that stand by their numbers, such as `{"0": "cat", "1": "dog"}`, in order.

    Raises:
        ModelInvalid: A number is missing, or a name is no text.
    """
    try:
        names = {int(number): name for number, name in dict(table).items()}
        ordered = [names[number] for number in range(len(names))]
        for name in ordered:
            str(name).encode()  # half a character of UTF-16 is no text
    except (TypeError, ValueError, KeyError) as error:
        raise ModelInvalid(
            f"{where} does not name the classes by 0, 1, 2 and so on; give a file with one name per line by "
            "--labels"
        ) from error
    if not ordered or not all(isinstance(name, str) and name.strip() for name in ordered):
        raise ModelInvalid(f"{where} has names that are no text; give a file with one per line by --labels")
    return tuple(" ".join(name.split()) for name in ordered)
