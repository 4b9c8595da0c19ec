"""Arrivals over time: the built-in traffics, each the same for the same seed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRAFFICS", "Times", "Traffic", "make_traffic"]

_HOUR_S = 3600.0
Times = NDArray[np.float64]
_Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """When requests arrive.

    Args:
        name: Names it in tables.
        about: Describes it in a sentence.
        arrivals_s: Sorted times, seconds from the start. Shape: `(count,) float64`.
        duration_s: How long it lasts; the minimum of instances is paid for at least this long.
    """

    name: str
    about: str
    arrivals_s: Times
    duration_s: float


def _spaced(rate_per_s: float, start_s: float, end_s: float) -> Times:
    return np.arange(start_s, end_s, 1.0 / rate_per_s, dtype=np.float64)


def _poisson(rng: _Rng, rate_per_s: float, start_s: float, end_s: float) -> Times:
    number = int(rng.poisson(rate_per_s * (end_s - start_s)))
    return np.sort(rng.uniform(start_s, end_s, number))


def _varying(rng: _Rng, rate: Callable[[Times], Times], end_s: float, bin_s: float = 1.0) -> Times:
    """Return Poisson arrivals at a rate that changes little within `bin_s`."""
    starts: Times = np.arange(0.0, end_s, bin_s)
    counts = rng.poisson(np.maximum(rate(starts + bin_s / 2), 0.0) * bin_s)
    return np.sort(np.repeat(starts, counts) + rng.uniform(0.0, bin_s, int(counts.sum())))


def _joined(*parts: Times) -> Times:
    return np.sort(np.concatenate(parts))


def _constant(_rng: _Rng) -> tuple[Times, float]:
    return _spaced(10.0, 0.0, 2 * _HOUR_S), 2 * _HOUR_S


def _step(rng: _Rng) -> tuple[Times, float]:
    edges = ((0.5, 0.0, 1800.0), (20.0, 1800.0, 5400.0), (0.5, 5400.0, 9000.0))
    return _joined(*(_poisson(rng, *edge) for edge in edges)), 9000.0


def _ramp(rng: _Rng) -> tuple[Times, float]:
    end_s = 2 * _HOUR_S
    return _varying(rng, lambda t: 30.0 * (1.0 - np.abs(2.0 * t / end_s - 1.0)), end_s), end_s


def _day(rng: _Rng, low: float, high: float) -> tuple[Times, float]:
    end_s = 24 * _HOUR_S
    wave = lambda t: low + (high - low) * ((1.0 - np.cos(2.0 * math.pi * t / end_s)) / 2.0) ** 2  # noqa: E731
    return _varying(rng, wave, end_s), end_s


def _flash(rng: _Rng) -> tuple[Times, float]:
    end_s = 2 * _HOUR_S
    return _joined(_poisson(rng, 0.2, 0.0, end_s), _poisson(rng, 30.0, 3000.0, 3600.0)), end_s


def _on_off(rng: _Rng) -> tuple[Times, float]:
    starts = (0.0, _HOUR_S, 2 * _HOUR_S, 3 * _HOUR_S)
    return _joined(*(_poisson(rng, 10.0, at, at + 900.0) for at in starts)), 4 * _HOUR_S


def _trickle(rng: _Rng) -> tuple[Times, float]:
    return _poisson(rng, 0.02, 0.0, 6 * _HOUR_S), 6 * _HOUR_S


def _rare(rng: _Rng) -> tuple[Times, float]:
    return _poisson(rng, 1.0 / 900.0, 0.0, 12 * _HOUR_S), 12 * _HOUR_S


def _poisson_bursts(rng: _Rng) -> tuple[Times, float]:
    end_s = 6 * _HOUR_S
    parts = [
        at + np.sort(rng.uniform(0.0, 10.0, int(rng.integers(50, 600))))
        for at in _poisson(rng, 1.0 / 600.0, 0.0, end_s - 600.0)
    ]
    return _joined(*parts), end_s


def _heavy_bursts(rng: _Rng) -> tuple[Times, float]:
    """Bursts whose sizes and gaps follow power laws, so that the largest outweighs many small ones."""
    end_s, at, parts = 8 * _HOUR_S, 300.0, []
    while at < end_s - 1800.0:
        size = int(min(20.0 * (1.0 + rng.pareto(1.1)), 15_000.0))
        parts.append(at + np.sort(rng.uniform(0.0, 20.0, size)))
        at += min(120.0 * (1.0 + float(rng.pareto(1.3))), 3600.0)
    return _joined(*parts), end_s


_Make = Callable[[_Rng], tuple[Times, float]]

TRAFFICS: dict[str, tuple[str, _Make]] = {
    "constant": ("10 requests a second, evenly spaced, for two hours", _constant),
    "step": ("0.5 a second, then 20 for an hour, then 0.5 again", _step),
    "ramp": ("from 0 to 30 a second and back within two hours", _ramp),
    "diurnal": ("a day between 0.02 and 20 a second", lambda rng: _day(rng, 0.02, 20.0)),
    "diurnal-small": ("a day between 0.002 and 1 a second", lambda rng: _day(rng, 0.002, 1.0)),
    "flash": ("0.2 a second, and ten minutes of 30 more", _flash),
    "on-off": ("a quarter of an hour at 10 a second, then three without requests; four times", _on_off),
    "trickle": ("one each 50 seconds on average, for six hours", _trickle),
    "rare": ("one each quarter of an hour on average, for twelve hours", _rare),
    "poisson-bursts": ("50 to 600 at once, each ten minutes on average, for six hours", _poisson_bursts),
    "heavy-bursts": ("bursts whose sizes and gaps have heavy tails, for eight hours", _heavy_bursts),
}


def make_traffic(name: str, seed: int) -> Traffic:
    """Return a built-in traffic; `name` is a key of TRAFFICS."""
    about, make = TRAFFICS[name]
    arrivals_s, duration_s = make(np.random.default_rng([seed, *name.encode()]))
    return Traffic(name, about, arrivals_s, duration_s)
