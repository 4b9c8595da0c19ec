"""The class project's rule: an instance per waiting request, nineteen at most.

Source: Palash-Mehta/Auto-Scaling-Image-Recognition-as-a-Service, its controller's loop.
"""

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["ClassProject"]

_LOOP_S = 4.0
_SURPLUS_S = 5.0
_CAPACITY_MAX = 19


class ClassProject:
    """Launches up to one instance per waiting request; stops the surplus after five seconds."""

    name = "class-project"
    traits = ScalerTraits(KillRule.IDLE)

    def __init__(self, limits: WorldLimits) -> None:
        self._limits = limits
        self._surplus_since_s: float | None = None

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        alive = observed.pending + observed.in_service
        available = alive - observed.busy
        if observed.visible >= available:
            self._surplus_since_s = None
            return DesiredCapacity(min(alive + observed.visible - available, _CAPACITY_MAX), _LOOP_S)
        if self._surplus_since_s is None:
            self._surplus_since_s = observed.now_s
        if observed.now_s - self._surplus_since_s < _SURPLUS_S:
            return DesiredCapacity(None, _LOOP_S)
        self._surplus_since_s = None
        return DesiredCapacity(
            max(alive - (available - observed.visible), self._limits.capacity_min), _LOOP_S
        )
