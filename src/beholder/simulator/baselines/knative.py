"""Knative's pod autoscaler.

Source: knative/serving, pkg/autoscaler and config-autoscaler.
"""

import math
from collections import deque

from beholder.simulator.policy import DesiredCapacity, KillRule, ScalerTraits, WorldLimits, WorldObservation

__all__ = ["Knative"]

_SCRAPE_S = 1.0
_STABLE_S, _PANIC_S = 60, 6
_UTILISATION = 0.7
_RATE_UP, _RATE_DOWN = 1000.0, 2.0
_PANIC_RATIO = 2.0
_GRACE_S = 30.0


class Knative:
    """Mean concurrency of a minute by 0.7 per container's concurrency, of six seconds when in panic."""

    # Requests wait in the activator, which the autoscaler scrapes; a pod is drained.
    traits = ScalerTraits(KillRule.GRACEFUL, has_own_counts=True)

    def __init__(self, limits: WorldLimits, *, concurrency: float = 1.0) -> None:
        """`concurrency` is what a container takes at once: 1 here, 100 is Knative's default."""
        self.name = "knative" if concurrency == 1 else f"knative-{concurrency:g}"
        self._limits, self._target = limits, _UTILISATION * concurrency
        self._scrapes: deque[int] = deque(maxlen=_STABLE_S)
        self._sum = 0
        self._is_due = True
        self._over_at_s: float | None = None
        self._most_in_panic = 0
        self._nothing_since_s: float | None = None

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Return the desired capacity and when to tick again."""
        self._scrape(observed.visible + observed.in_flight)
        # The activator wakes a service that is at zero; else each second scrape is a tick.
        self._is_due = not self._is_due or (observed.desired == 0 and observed.visible > 0)
        if not self._is_due:
            return DesiredCapacity(None, _SCRAPE_S)
        ready = max(1, observed.in_service)
        stable = self._bounded(self._sum / len(self._scrapes), ready)
        wanted = self._panicked(stable, ready, observed.now_s)
        wanted = min(max(wanted, self._limits.capacity_min), self._limits.capacity_max)
        return DesiredCapacity(self._at_zero(wanted, observed), _SCRAPE_S)

    def _scrape(self, concurrency: int) -> None:
        if len(self._scrapes) == _STABLE_S:
            self._sum -= self._scrapes[0]
        self._scrapes.append(concurrency)
        self._sum += concurrency

    def _bounded(self, mean: float, ready: int) -> int:
        need = math.ceil(mean / self._target)
        return int(min(max(need, math.floor(ready / _RATE_DOWN)), math.ceil(_RATE_UP * ready)))

    def _panicked(self, stable: int, ready: int, now_s: float) -> int:
        recent = [self._scrapes[-1 - back] for back in range(min(_PANIC_S, len(self._scrapes)))]
        mean = sum(recent) / len(recent)
        if math.ceil(mean / self._target) / ready >= _PANIC_RATIO:
            if self._over_at_s is None:
                self._most_in_panic = 0
            self._over_at_s = now_s
        elif self._over_at_s is not None and now_s - self._over_at_s >= _STABLE_S:
            self._over_at_s = None
        if self._over_at_s is None:
            return stable
        self._most_in_panic = max(self._most_in_panic, stable, self._bounded(mean, ready))
        return self._most_in_panic

    def _at_zero(self, wanted: int, observed: WorldObservation) -> int:
        """Keep the last instance for a stable window of nothing and the grace after it."""
        if wanted > 0 or self._sum > 0:
            self._nothing_since_s = None
            return max(wanted, 1)
        if self._nothing_since_s is None:
            self._nothing_since_s = observed.now_s
        is_over = observed.now_s - self._nothing_since_s >= _GRACE_S
        return 0 if is_over or observed.desired == 0 else 1
