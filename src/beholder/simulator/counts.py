"""The queue's counts as a sensor reads them: approximate, and late."""

from collections import deque

import numpy as np

from beholder.simulator.cloud import WorldSettings

__all__ = ["Counts", "LaggingCounts"]

# When they were true; then messages visible, in flight, sent and done so far.
Counts = tuple[float, int, int, int, int]


class LaggingCounts:
    """Keeps the counts of each moment until they are old enough to be read.

    Args:
        settings: How old counts are, and how noisy.
        is_exact: The policy counts requests itself.
    """

    def __init__(self, settings: WorldSettings, *, is_exact: bool) -> None:
        self.lag_s = 0.0 if is_exact else settings.queue_lag_s
        self._noise = 0.0 if is_exact else settings.queue_noise
        self._rng = np.random.default_rng([settings.seed, 22])
        self._taken: deque[Counts] = deque()

    def take(self, counts: Counts) -> None:
        """Keep the counts of this moment."""
        now_s, visible, in_flight, sent, done = counts
        if self._noise > 0:
            factors = 1.0 + self._noise * self._rng.standard_normal(2)
            visible, in_flight = (
                max(0, round(count * float(factor)))
                for count, factor in zip((visible, in_flight), factors, strict=True)
            )
        self._taken.append((now_s, visible, in_flight, sent, done))

    def read(self, now: Counts) -> Counts:
        """Return the newest counts that are old enough, or those of now if counts do not lag."""
        if not self._taken or self.lag_s == 0:
            self._taken.clear()
            self.take(now)
        while len(self._taken) > 1 and self._taken[1][0] <= now[0] - self.lag_s + 1e-9:
            self._taken.popleft()
        return self._taken[0]
