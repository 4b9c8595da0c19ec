"""SageMaker asynchronous inference: target tracking, with a step policy to leave zero.

AWS does not publish the formula; this is the documented behaviour.
Source: Amazon SageMaker Developer Guide, "Autoscale an asynchronous endpoint"; Application Auto Scaling User
Guide, "Target tracking scaling policies".
"""

import math

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["SageMaker"]

_PERIOD_S = 60.0
_TARGET = 5.0
_LOW = 0.9
_HIGH_PERIODS, _LOW_PERIODS, _STEP_PERIODS = 3, 15, 2
_COOLDOWN_S = 300.0


class SageMaker:
    """Five requests per instance: out after three minutes over, in after fifteen under, 300 s between."""

    # The documentation does not say what happens to a busy instance; this assumes that it finishes.
    traits = ScalerTraits(KillRule.GRACEFUL)

    def __init__(self, limits: WorldLimits, *, is_scale_in_capped: bool = True) -> None:
        """`is_scale_in_capped` limits each scale-in to one instance."""
        self.name = "sagemaker" if is_scale_in_capped else "sagemaker-uncapped"
        self._limits, self._is_capped = limits, is_scale_in_capped
        self._high = self._low = self._starved = 0
        self._out_until_s = self._in_until_s = -math.inf
        self._out_to = 0

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        backlog, now_s = observed.visible + observed.in_flight, observed.now_s
        per_instance = backlog / observed.in_service if observed.in_service else None
        self._count(backlog, per_instance)
        desired = observed.desired
        if self._starved >= _STEP_PERIODS and now_s >= self._out_until_s:
            desired = self._out(desired + 1, now_s)
        elif per_instance is None:
            pass
        elif self._high >= _HIGH_PERIODS:
            wanted = min(math.ceil(observed.in_service * per_instance / _TARGET), self._limits.capacity_max)
            if wanted > desired and (now_s >= self._out_until_s or wanted > self._out_to):
                desired = self._out(wanted, now_s)
        elif self._low >= _LOW_PERIODS and now_s >= max(self._in_until_s, self._out_until_s):
            desired = self._in(observed.in_service * per_instance, desired, now_s)
        return DesiredCapacity(desired, _PERIOD_S)

    def _count(self, backlog: int, per_instance: float | None) -> None:
        """Count the periods in a row for which each alarm would be on; missing data ends none of them."""
        self._starved = self._starved + 1 if per_instance is None and backlog > 0 else 0
        if per_instance is not None:
            self._high = self._high + 1 if per_instance > _TARGET else 0
            self._low = self._low + 1 if per_instance < _LOW * _TARGET else 0

    def _out(self, desired: int, now_s: float) -> int:
        desired = min(desired, self._limits.capacity_max)
        self._out_until_s, self._out_to = now_s + _COOLDOWN_S, desired
        # A scale-out cuts the cooldown of a scale-in short.
        self._in_until_s = -math.inf
        return desired

    def _in(self, backlog: float, desired: int, now_s: float) -> int:
        wanted = math.ceil(backlog / _TARGET)
        if self._is_capped:
            wanted = max(wanted, desired - 1)
        wanted = max(wanted, self._limits.capacity_min)
        if wanted < desired:
            self._in_until_s = now_s + _COOLDOWN_S
        return min(wanted, desired)
