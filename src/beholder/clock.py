"""The clock as an argument: every part that needs the time takes one of these.

It stands below all rooms, so that the simulator and the tests can hand any of them a clock of their own.
"""

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "MonotonicClock", "SystemClock"]


class Clock(Protocol):
    """Tells the time of day; all processes of one deployment are assumed to agree on it within a second."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


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
