"""The clock as an argument: every part that needs the time takes one of these.

It stands below all rooms, so that the simulator and the tests can hand any of them a clock of their own.
"""

import time
from math import inf
from typing import Protocol

__all__ = ["Clock", "ManualClock", "MonotonicClock", "SystemClock", "age_s"]


class Clock(Protocol):
    """Tells the time of day; all processes of one deployment are assumed to agree on it within a second."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


def age_s(now_s: float, then_s: float, *, most_s: float = inf) -> float:
    """Return how long ago something was by what another machine's clock says; never negative.

    Every difference of two times that come from two machines is taken here.

    Args:
        now_s: The moment by the own clock, seconds since the Unix epoch.
        then_s: When it was, by the other clock.
        most_s: What the age cannot exceed, by what the own clock has seen itself.
    """
    return min(max(0.0, now_s - then_s), max(0.0, most_s))


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


class MonotonicClock:
    """A clock for durations within one process, which no step of the machine's time moves."""

    def now_s(self) -> float:
        """Return seconds from some start."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and simulation."""

    def __init__(self, start_s: float = 1_000_000_000.0) -> None:
        """Start at `start_s` seconds since the Unix epoch."""
        self._now_s = start_s

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`."""
        self._now_s += seconds
