"""The clock as an argument: every part that needs the time takes one.

So the simulator and the tests can give each of them a clock of their own.
"""

import time
from datetime import UTC, datetime
from math import inf
from typing import Protocol

__all__ = ["Clock", "ManualClock", "MonotonicClock", "SystemClock", "age_s", "time_s_of", "utc_text"]


class Clock(Protocol):
    """Tells the time of day; all processes of one deployment are assumed to agree on it within a second."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


def age_s(now_s: float, then_s: float, *, most_s: float = inf) -> float:
    """Return the age of an event whose time another machine's clock gave; never negative.

    Every difference between times of two machines is taken here.

    Args:
        now_s: The present time by this machine's clock, seconds since the Unix epoch.
        then_s: The time of the event, by the other clock.
        most_s: The age cannot exceed this, by this machine's own observation.
    """
    return min(max(0.0, now_s - then_s), max(0.0, most_s))


def utc_text(time_s: float) -> str:
    """Return a time to the second as RFC 3339 has it, such as '2026-03-01T14:03:00Z'."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def time_s_of(text: object) -> float | None:
    """Return a time as RFC 3339 has it in seconds since the Unix epoch; None if it cannot be read."""
    try:
        at = datetime.fromisoformat(str(text))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


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
