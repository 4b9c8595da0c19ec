"""An experiment: every chosen law on every chosen traffic, in one world."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from beholder.scaling.idle import STAY_S_MIN
from beholder.sim.baselines import BASELINES, make_baseline
from beholder.sim.cloud import WorldSettings
from beholder.sim.law import Law
from beholder.sim.ours import Ours
from beholder.sim.run import Figures, Run, figures_of
from beholder.sim.traffic import Traffic
from beholder.sim.world import simulate

__all__ = ["LAWS", "Experiment"]

LAWS = (Ours.name, *BASELINES)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is played.

    Args:
        traffics: What arrives.
        laws: Names out of LAWS.
        settings: The world.
        boot_patience: Our policy's taste; see `scaling.Limits`.
        stay_s_min: Ours only: how long the last worker stays idle at least.
    """

    traffics: Sequence[Traffic]
    laws: Sequence[str] = LAWS
    settings: WorldSettings = field(default_factory=WorldSettings)
    boot_patience: float = 1.0
    stay_s_min: float = STAY_S_MIN

    @property
    def goal_s(self) -> float:
        """Return the latency that counts as inside the goal: the goal and a mean boot."""
        return self.settings.limits.latency_goal_s + self.settings.limits.boot_s

    def play(self) -> Iterator[tuple[Run, Figures]]:
        """Yield each run with its figures, all laws on one traffic before the next."""
        for traffic in self.traffics:
            for name in self.laws:
                run = simulate(self._law(name), traffic, self.settings)
                price = self.settings.limits.price_per_hour
                yield run, figures_of(run, goal_s=self.goal_s, price_per_hour=price)

    def _law(self, name: str) -> Law:
        if name != Ours.name:
            return make_baseline(name, self.settings.limits)
        return Ours(
            self.settings.limits,
            queue_lag_s=self.settings.queue_lag_s,
            boot_patience=self.boot_patience,
            stay_s_min=self.stay_s_min,
        )
