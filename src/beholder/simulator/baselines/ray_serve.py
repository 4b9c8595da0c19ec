"""Ray Serve's autoscaling policy.

Source: ray-project/ray, python/ray/serve/autoscaling_policy.py, with `num_replicas="auto"`.
"""

import math
from collections import deque

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["RayServe"]

_TICK_S = 0.1
_PUSH_S = 10.0
_LOOK_BACK_S = 30.0
_TARGET_ONGOING = 2.0
_FACTOR = 1.0
_UP_TICKS = 300
_DOWN_TICKS = 6000


class RayServe:
    """Ongoing and queued requests by two per replica, up after 30 s of wanting more, down after 600 s."""

    name = "ray"
    traits = ScalerTraits(KillRule.GRACEFUL, grace_s=20.0)

    def __init__(self, limits: WorldLimits) -> None:
        self._limits = limits
        self._pushes: deque[tuple[float, int]] = deque()
        self._ticks = 0
        self._push_due_s = 0.0

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        now_s, current = observed.now_s, observed.desired
        if now_s >= self._push_due_s - 1e-9:
            self._push_due_s = now_s + _PUSH_S
            self._pushes.append((now_s, observed.visible + observed.in_flight))
        total = self._mean(now_s)
        if current == 0:
            return self._from_zero(total, now_s)
        wanted = total / _TARGET_ONGOING
        smoothed = math.ceil(round(current + _FACTOR * (wanted - current), 9))
        if math.ceil(wanted) < current and smoothed == current:
            smoothed = current - 1
        target = min(max(smoothed, self._limits.capacity_min), self._limits.capacity_max)
        return DesiredCapacity(self._delayed(target, current), _TICK_S)

    def _from_zero(self, total: float, now_s: float) -> DesiredCapacity:
        self._ticks = 0
        if total > 0:
            most = self._limits.capacity_max
            return DesiredCapacity(
                min(max(math.ceil(_FACTOR), math.ceil(total / _TARGET_ONGOING)), most), _TICK_S
            )
        # While the newest push is 0 nothing can change before the next one: those ticks are left out.
        is_quiet = self._pushes[-1][1] == 0
        return DesiredCapacity(None, max(self._push_due_s - now_s, _TICK_S) if is_quiet else _TICK_S)

    def _delayed(self, target: int, current: int) -> int:
        if target > current:
            self._ticks = max(self._ticks, 0) + 1
            if self._ticks > _UP_TICKS:
                self._ticks = 0
                return target
        elif target < current:
            self._ticks = min(self._ticks, 0) - 1
            if self._ticks < -_DOWN_TICKS:
                self._ticks = 0
                # Zero is reached from one alone, and waits for the same delay once more.
                return max(target, 1) if current > 1 else target
        else:
            self._ticks = 0
        return current

    def _mean(self, now_s: float) -> float:
        """Return the mean over the look-back, each push weighted by how long it was the newest."""
        pushes, since_s = self._pushes, now_s - _LOOK_BACK_S
        while len(pushes) > 1 and pushes[1][0] <= since_s:
            pushes.popleft()
        if len(pushes) == 1 or now_s == pushes[0][0]:
            return float(pushes[-1][1])
        total, end_s = 0.0, now_s
        for at_s, count in reversed(pushes):
            start_s = max(at_s, since_s)
            total += count * (end_s - start_s)
            end_s = start_s
        return total / (now_s - max(since_s, pushes[0][0]))
