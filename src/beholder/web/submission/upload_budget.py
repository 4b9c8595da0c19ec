"""The budget of bytes that uploads may take in one process."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from beholder.clock import Clock, MonotonicClock
from beholder.errors import Overloaded
from beholder.telemetry.metrics import Telemetry

__all__ = ["Reservation", "UploadBudget"]

_MONOTONIC = MonotonicClock()
# The weight of each upload in the mean of how long uploads are held.
_WEIGHT = 0.1


class UploadBudget:
    """The bytes of uploads that one process may hold in memory at once; used from the event loop only.

    Args:
        bytes_max: The budget.
        telemetry: Reports how much of it is used.
        asynchronous_share: The share of it beyond which asynchronous uploads are refused.
        clock: Measures how long uploads are held.
    """

    def __init__(
        self,
        bytes_max: int,
        telemetry: Telemetry,
        *,
        asynchronous_share: float = 1.0,
        clock: Clock = _MONOTONIC,
    ) -> None:
        self._bytes_max = bytes_max
        self._asynchronous_bytes_max = bytes_max * asynchronous_share
        self._used = 0
        self._telemetry = telemetry
        self._clock = clock
        self._held_s = 0.0

    @contextmanager
    def reserve(self, *, waits: bool = True) -> Iterator["Reservation"]:
        """Reserve the bytes of one upload until the block ends.

        Args:
            waits: Whether the caller waits for the outcome; asynchronous uploads are refused earlier.
        """
        reservation = Reservation(self, waits=waits)
        began_s = self._clock.now_s()
        try:
            yield reservation
        finally:
            if reservation.count:
                self._held_s += _WEIGHT * (self._clock.now_s() - began_s - self._held_s)
            self._add(-reservation.count, reservation)

    def _check(self, count: int, reservation: "Reservation") -> None:
        # A single asynchronous upload keeps out no other upload, so it may use the whole budget.
        is_bounded = not reservation.waits and self._used > reservation.count
        bytes_max = self._asynchronous_bytes_max if is_bounded else self._bytes_max
        if self._used + count > bytes_max and count > 0:
            raise Overloaded(
                "too many uploads are being received at once; try again after the time in Retry-After",
                retry_after_s=max(1, math.ceil(self._held_s)),
            )

    def _add(self, count: int, reservation: "Reservation") -> None:
        self._check(count, reservation)
        self._used += count
        self._telemetry.upload_bytes.set(self._used)


class Reservation:
    """The part of the budget that one upload holds."""

    def __init__(self, budget: UploadBudget, *, waits: bool) -> None:
        self._budget = budget
        self.waits = waits
        self.count = 0

    def check(self, count: int) -> None:
        """Raise Overloaded if `count` more bytes do not fit now; reserve nothing."""
        self._budget._check(count, self)  # noqa: SLF001 -- one family, in one file

    def grow_to(self, count: int) -> None:
        """Reserve at least `count` bytes; raise Overloaded if they do not fit."""
        if count > self.count:
            self._budget._add(count - self.count, self)  # noqa: SLF001 -- one family, in one file
            self.count = count
