"""KEDA's SQS scaler with the horizontal pod autoscaler behind it.

Source: kedacore/keda, scalers/aws_sqs_queue; Kubernetes, HorizontalPodAutoscaler v2 defaults.
"""

import math
from collections import deque

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["Keda"]

_SYNC_S = 15.0
_POLL_S = 30.0
_COOLDOWN_S = 300.0
_DOWN_WINDOW_S = 300.0
_PER_REPLICA = 5
_TOLERANCE = 0.1
_UP_PODS = 4


class Keda:
    """Five messages per replica; doubling each 15 s; down by the highest need of five minutes."""

    name = "keda"
    # The replica set removes pods without knowing which of them are busy.
    traits = ScalerTraits(KillRule.BLIND)

    def __init__(self, limits: WorldLimits, *, per_replica: float = _PER_REPLICA) -> None:
        """`per_replica` is the messages per replica that the scaler aims at."""
        self._limits, self._per_replica = limits, per_replica
        self._needs: deque[tuple[float, int]] = deque()
        self._poll_due_s = 0.0
        self._active_at_s = 0.0

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        now_s, current = observed.now_s, observed.desired
        messages = observed.visible + observed.in_flight
        if now_s >= self._poll_due_s - 1e-9:
            self._poll_due_s = now_s + _POLL_S
            if messages > 0:
                self._active_at_s = now_s
                current = max(current, 1, self._limits.capacity_min)
            elif now_s - self._active_at_s >= _COOLDOWN_S and self._limits.capacity_min == 0:
                current = 0
        if current > 0:
            current = self._synced(messages, current, now_s)
        else:
            self._needs.clear()
        return DesiredCapacity(current, _SYNC_S)

    def _synced(self, messages: int, current: int, now_s: float) -> int:
        least, most = max(1, self._limits.capacity_min), self._limits.capacity_max
        ratio = messages / (self._per_replica * current)
        need = current if abs(ratio - 1) <= _TOLERANCE else math.ceil(messages / self._per_replica)
        need = min(max(need, least), most)
        self._needs.append((now_s, need))
        while self._needs[0][0] <= now_s - _DOWN_WINDOW_S:
            self._needs.popleft()
        if need >= current:
            return min(need, max(2 * current, current + _UP_PODS))
        return min(current, max(count for _, count in self._needs))
