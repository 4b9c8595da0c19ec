"""Arrivals read from a file: times in seconds or in ISO form, as CSV or as JSON lines."""

import csv
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from beholder.errors import ConfigError
from beholder.simulator.traffic import Traffic

__all__ = ["read_arrivals"]

# What the column of times may be called, best first; without one of these names the first column is taken.
_COLUMNS = ("arrived_at", "created_at", "at", "timestamp", "time", "arrival")


def read_arrivals(path: Path) -> Traffic:
    """Return the traffic of a file; its times count from the first arrival.

    Each line is one arrival: a number of seconds, or an ISO time (UTC where it names no zone), or a line of
    CSV with such a column, or a JSON object with such a key, as a job of the API or a log line is.

    Raises:
        ConfigError: The file cannot be read, holds no arrival, or has a line without one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    is_json = bool(lines) and lines[0][1].startswith("{")
    times_s = sorted(_json_times(path, lines) if is_json else _csv_times(path, lines))
    if not times_s:
        raise ConfigError(f"{path} holds no arrival; each line must be a time")
    arrivals_s = np.asarray(times_s, dtype=np.float64) - times_s[0]
    return Traffic(path.name, f"arrivals of {path.name}", arrivals_s, float(arrivals_s[-1]))


def _json_times(path: Path, lines: list[tuple[int, str]]) -> Iterator[float]:
    for number, line in lines:
        try:
            document = json.loads(line)
            value = next(document[name] for name in _COLUMNS if name in document)
        except (ValueError, TypeError, StopIteration) as exc:
            names = ", ".join(_COLUMNS)
            raise ConfigError(f"{path}, line {number}: not a JSON object with one of {names}") from exc
        yield _time(path, number, value)


def _csv_times(path: Path, lines: list[tuple[int, str]]) -> Iterator[float]:
    rows = list(csv.reader(line for _, line in lines))
    column = 0
    for index, (row, (number, _)) in enumerate(zip(rows, lines, strict=True)):
        if index == 0 and not _is_time(row[0]) and not any(_is_time(cell) for cell in row):
            names = [cell.strip().lower() for cell in row]
            column = next((names.index(name) for name in _COLUMNS if name in names), 0)
            continue
        if column >= len(row):
            raise ConfigError(f"{path}, line {number}: no column {column + 1}")
        yield _time(path, number, row[column])


def _is_time(value: str) -> bool:
    return _seconds(value) is not None


def _time(path: Path, number: int, value: Any) -> float:
    found = _seconds(value)
    if found is None:
        raise ConfigError(f"{path}, line {number}: {value!r} is neither a time in seconds nor an ISO time")
    return found


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _iso_seconds(value)
    return number if math.isfinite(number) else None


def _iso_seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
