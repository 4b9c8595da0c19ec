"""buildkite-agent-scaler with the elastic stack's instances, which leave by themselves.

Source: buildkite/buildkite-agent-scaler, scaling_calculator.go and scaler.go; elastic-ci-stack-for-aws.
"""

import math

from beholder.simulator.policy import (
    DesiredCapacity,
    IdleFor,
    KillRule,
    ScalerTraits,
    WorldLimits,
    WorldObservation,
)

__all__ = ["Buildkite"]

_POLL_S = 10.0
_LAMBDA_POLLS, _LAMBDA_S = 5, 60.0
_AVAILABILITY_MIN = 0.5
_IDLE_S, _LOGS_S = 600.0, 10.0


class Buildkite:
    """An instance per scheduled or running job; each leaves after ten idle minutes."""

    # The scaler asks the vendor's own API for the jobs. An agent is told 20 s before a spot end.
    traits = ScalerTraits(
        KillRule.SELF,
        has_own_counts=True,
        worker_rule=IdleFor(_IDLE_S),
        leave_s=_LOGS_S,
        drains_on_notice=True,
    )

    def __init__(self, limits: WorldLimits, *, out_cooldown_s: float = 0.0) -> None:
        """`out_cooldown_s` is 0 in the scaler's code and 300 in the template of its stack."""
        self.name = "buildkite" if out_cooldown_s == 0 else f"buildkite-{out_cooldown_s:g}s"
        self._limits, self._cooldown_s = limits, out_cooldown_s
        self._polls = 0
        self._out_at_s = -math.inf

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        self._polls = (self._polls + 1) % _LAMBDA_POLLS
        # The function runs each minute and polls for 50 s of it.
        next_s = _POLL_S if self._polls else _LAMBDA_S - (_LAMBDA_POLLS - 1) * _POLL_S
        desired = min(self._need(observed), self._limits.capacity_max)
        is_cooling = observed.now_s - self._out_at_s < self._cooldown_s
        if desired <= observed.desired or is_cooling:
            return DesiredCapacity(None, next_s)
        self._out_at_s = observed.now_s
        return DesiredCapacity(desired, next_s)

    def _need(self, observed: WorldObservation) -> int:
        need = observed.visible + observed.in_flight
        actual = observed.pending + observed.in_service
        if need > 0 and actual > 0:
            availability = observed.in_service / actual
            if availability < _AVAILABILITY_MIN and actual == observed.desired:
                need = max(need, observed.desired + 1)
        return max(need, self._limits.capacity_min)
