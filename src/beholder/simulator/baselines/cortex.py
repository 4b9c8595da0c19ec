"""Cortex's autoscaler.

Source: cortexlabs/cortex, pkg/autoscaler and pkg/dequeuer (defaults of the Async kind).
"""

import math
from collections import deque

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["Cortex"]

_TICK_S = 10.0
_MEAN_OVER_S = 60.0
_TARGET_IN_FLIGHT = 1.0
_TOLERANCE = 0.05
_DOWN_FACTOR, _UP_FACTOR = 0.75, 1.5
_DOWN_HOLD_S, _UP_HOLD_S = 300.0, 60.0


class Cortex:
    """Mean backlog of a minute by one per instance, bounded in rate, steadied over 1 and 5 minutes."""

    name = "cortex"
    # Kubernetes lets a pod end its work; the dequeuer polls for 10 s and then sleeps for 10 s.
    traits = ScalerTraits(KillRule.GRACEFUL, grace_s=30.0, poll_s=10.0, nap_s=10.0)

    def __init__(self, limits: WorldLimits, *, in_flight: float = _TARGET_IN_FLIGHT) -> None:
        """`in_flight` is the messages per replica that the scaler aims at."""
        self._limits, self._target = limits, in_flight
        self._samples: deque[tuple[float, int]] = deque()
        self._recommended: deque[tuple[float, int]] = deque()
        self._started_s: float | None = None

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        now_s, current = observed.now_s, observed.desired
        if self._started_s is None:
            self._started_s = now_s
        self._samples.append((now_s, observed.visible + observed.in_flight))
        _forget(self._samples, now_s - _MEAN_OVER_S)
        mean = sum(count for _, count in self._samples) / len(self._samples)
        recommended = self._bounded(mean / self._target, current)
        self._recommended.append((now_s, recommended))
        _forget(self._recommended, now_s - _DOWN_HOLD_S)
        return DesiredCapacity(self._steadied(recommended, current, now_s), _TICK_S)

    def _bounded(self, raw: float, current: int) -> int:
        recommended = math.ceil(raw)
        if current * (1 - _TOLERANCE) < raw < current * (1 + _TOLERANCE):
            recommended = current
        recommended = max(recommended, min(current - 1, math.ceil(_DOWN_FACTOR * current)))
        recommended = min(recommended, max(current + 1, math.ceil(_UP_FACTOR * current)))
        return min(max(recommended, self._limits.capacity_min), self._limits.capacity_max)

    def _steadied(self, recommended: int, current: int, now_s: float) -> int:
        age_s = now_s - (self._started_s or 0.0)
        if recommended < current:
            if age_s < _DOWN_HOLD_S:
                return current
            return max(recommended, min(current, max(count for _, count in self._recommended)))
        if recommended > current:
            if age_s < _UP_HOLD_S:
                return current
            recent = [count for at_s, count in self._recommended if at_s >= now_s - _UP_HOLD_S]
            return min(recommended, max(current, min(recent)))
        return current


def _forget(window: deque[tuple[float, int]], before_s: float) -> None:
    while window[0][0] < before_s:
        window.popleft()
