"""The queue's counts as a sensor reads them: approximate, and late."""

from collections import deque

import numpy as np

from beholder.simulator.cloud import WorldSettings

__all__ = ["Counts", "LaggingCounts", "lagging_counts"]

# When they were true; then messages visible, in flight, sent and done so far.
Counts = tuple[float, int, int, int, int]


class LaggingCounts:
    """Keeps the counts of each moment until they are old enough to be read.

    Args:
        lag_s: How old counts are when they are read.
        noise: Standard deviation of counts of messages visible and in flight over their value.
        seed: The seed of the noise.
    """

    def __init__(self, *, lag_s: float = 0.0, noise: float = 0.0, seed: int = 0) -> None:
        self.lag_s = lag_s
        self._noise = noise
        self._rng = np.random.default_rng([seed, 22])
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


def lagging_counts(settings: WorldSettings, *, is_exact: bool) -> tuple[LaggingCounts, LaggingCounts]:
    """Return the counts of the queue, and those of the web processes.

    Args:
        settings: How old each are, and how noisy those of the queue.
        is_exact: The policy counts requests itself, instead of asking the queue.
    """
    lag_s, noise = (0.0, 0.0) if is_exact else (settings.queue_lag_s, settings.queue_noise)
    of_queue = LaggingCounts(lag_s=lag_s, noise=noise, seed=settings.seed)
    return of_queue, LaggingCounts(lag_s=settings.web_lag_s)
