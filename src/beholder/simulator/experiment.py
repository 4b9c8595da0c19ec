"""An experiment: every chosen policy on every chosen traffic, in one world."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from beholder.draining.idle_limit import STAY_S_MIN
from beholder.scaling.policy.limits import Aim
from beholder.simulator.baselines import BASELINES, make_baseline
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.ours import Ours
from beholder.simulator.policy import Policy
from beholder.simulator.run import Figures, Run, figures_of
from beholder.simulator.traffic import Traffic
from beholder.simulator.world import simulate

__all__ = ["POLICIES", "Experiment"]

POLICIES = (Ours.name, *BASELINES)


@dataclass(frozen=True, slots=True)
class Experiment:
    """The runs of every policy on every traffic.

    Args:
        traffics: The traffics.
        policies: Names out of POLICIES.
        settings: The world.
        aim: Of our policy; see `scaling.Limits`.
        stay_s_min: Of our policy: how long the last worker stays idle at least.
    """

    traffics: Sequence[Traffic]
    policies: Sequence[str] = POLICIES
    settings: WorldSettings = field(default_factory=WorldSettings)
    aim: Aim = Aim.STEADY
    stay_s_min: float = STAY_S_MIN

    @property
    def goal_s(self) -> float:
        """Return the latency that counts as inside the goal: the goal and a mean startup."""
        return self.settings.limits.latency_goal_s + self.settings.limits.startup_s

    def play(self) -> Iterator[tuple[Run, Figures]]:
        """Yield each run with its figures, all policies on one traffic before the next."""
        for traffic in self.traffics:
            for name in self.policies:
                run = simulate(self._policy(name), traffic, self.settings)
                price = self.settings.limits.price_per_hour
                yield run, figures_of(run, goal_s=self.goal_s, price_per_hour=price)

    def _policy(self, name: str) -> Policy:
        if name != Ours.name:
            return make_baseline(name, self.settings.limits)
        return Ours(
            self.settings.limits,
            queue_lag_s=self.settings.queue_lag_s,
            aim=self.aim,
            stay_s_min=self.stay_s_min,
        )
