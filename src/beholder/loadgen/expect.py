"""Counts the right answers, given a file that says what each image shows."""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from beholder.errors import ConfigError
from beholder.loadgen.answer import Answer

__all__ = ["Accuracy", "accuracy_of", "read_every_expected", "read_expected"]

_TOP = 5
_Index = TypeVar("_Index")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of the `known` answers, whose images are in the file, how many had the right class first or in five."""

    known: int
    top_1: int
    top_5: int


def read_expected(path: Path) -> dict[str, int]:
    """Read the class number of each image from a CSV file with the columns file, index and name.

    Raises:
        ConfigError: The file cannot be read, lacks a column, or an index is no number.
    """
    return dict(_rows(path, int))


def read_every_expected(path: Path) -> dict[str, frozenset[int]]:
    """Read the class numbers of each image: a row for each of them, or one with an empty index for none.

    Raises:
        ConfigError: The file cannot be read, lacks a column, or an index is no number.
    """
    found: dict[str, frozenset[int]] = {}
    for file, index in _rows(path, lambda text: int(text) if text else None):
        found[file] = found.get(file, frozenset()) | ({index} if index is not None else frozenset())
    return found


def _rows(path: Path, read: Callable[[str], _Index]) -> list[tuple[str, _Index]]:
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return [(row["file"], read(row["index"])) for row in csv.DictReader(lines)]
    except OSError as exc:
        raise ConfigError(f"the expected labels {path} cannot be read: {exc.strerror}") from exc
    except (KeyError, ValueError, TypeError) as exc:
        raise ConfigError(f"{path} must be a CSV file with the columns file,index,name: {exc!r}") from exc


def accuracy_of(answers: Iterable[Answer], expected: Mapping[str, int]) -> Accuracy:
    """Compare the answers' class numbers with the expected ones; a failed request counts as wrong."""
    known = [
        (answer.response.indices, expected[answer.file]) for answer in answers if answer.file in expected
    ]
    return Accuracy(
        known=len(known),
        top_1=sum(index in indices[:1] for indices, index in known),
        top_5=sum(index in indices[:_TOP] for indices, index in known),
    )
