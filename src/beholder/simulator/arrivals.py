"""Arrivals read from a file, as CSV or JSON lines, or drawn at the rates of a fleet's history."""

import csv
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from beholder.errors import ConfigError
from beholder.scaling.records.history import HistoryPoints
from beholder.simulator.traffic import Traffic

__all__ = ["arrivals_of_history", "read_arrivals"]

# What the column of times may be called, best first; without one of these names the first column is taken.
_COLUMNS = ("arrived_at", "created_at", "at", "timestamp", "time", "arrival")


# A point of a history holds until the next, but no longer than a controller that leads lets pass without one;
# the last holds for its minute.
_HOLDS_S, _MINUTE_S = 300.0, 60.0


def arrivals_of_history(points: HistoryPoints, name: str, seed: int) -> Traffic:
    """Return traffic at the rates that a fleet has learnt over its last 24 hours.

    The history has rates and no arrivals, so these are random: Poisson at the rate of each point. Where no
    controller led there are none.

    Args:
        points: Of the history.
        name: Names the traffic.
        seed: Of the random numbers.

    Raises:
        ConfigError: The history has no arrivals.
    """
    rng = np.random.default_rng(seed)
    at_s = np.asarray(points.at_s, dtype=np.float64)
    lasts_s = np.minimum(np.diff(at_s, append=at_s[-1:] + _MINUTE_S), _HOLDS_S)
    counts = rng.poisson(np.asarray(points.arrivals_per_s, dtype=np.float64) * lasts_s)
    if not counts.sum():
        raise ConfigError(
            f"the history of {name} has no arrivals yet; send images, and wait for some minutes"
        )
    offsets_s = np.repeat(lasts_s, counts) * rng.random(int(counts.sum()))
    arrivals_s = np.sort(np.repeat(at_s - at_s[0], counts) + offsets_s)
    duration_s = float(at_s[-1] - at_s[0] + lasts_s[-1])
    return Traffic(
        name,
        f"the arrivals of {duration_s / 3600:.1f} hours, as its fleet learnt them",
        arrivals_s,
        duration_s,
    )


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
