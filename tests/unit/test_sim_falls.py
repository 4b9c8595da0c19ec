"""The aim steady after a fall of load: the workers that leave are not replaced."""

import numpy as np
import pytest

from beholder.simulator.cloud import WorldSettings
from beholder.simulator.ours import Ours
from beholder.simulator.policy import DesiredCapacity, WorldLimits, WorldObservation
from beholder.simulator.traffic import Traffic
from beholder.simulator.world import simulate

pytestmark = pytest.mark.pure

FALLS_AT_S, ENDS_AT_S = 1800.0, 2400.0
SEEDS = (1, 2)


class Counted(Ours):
    """Our policy, which keeps how many instances it launched while the load was the lower one."""

    launched = 0

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        desired = super().tick(observed)
        if FALLS_AT_S <= observed.now_s < ENDS_AT_S and self.last is not None:
            self.launched += len(self.last.launched)
        return desired


def launches(high_per_s: float, low_per_s: float, startup_s: float, seed: int) -> int:
    """Return the launches in the ten minutes after a fall."""
    rng = np.random.default_rng(seed)
    parts = ((high_per_s, 0.0, FALLS_AT_S), (low_per_s, FALLS_AT_S, ENDS_AT_S))
    arrivals_s = [np.sort(rng.uniform(begin, end, int(rate * (end - begin)))) for rate, begin, end in parts]
    settings = WorldSettings(WorldLimits(startup_s=startup_s), seed=seed)
    policy = Counted(settings.limits, queue_lag_s=settings.queue_lag_s)
    simulate(policy, Traffic("fall", "", np.concatenate(arrivals_s), ENDS_AT_S), settings)
    return policy.launched


@pytest.mark.parametrize(("startup_s", "most"), [(25.0, 4), (200.0, 2)])
@pytest.mark.parametrize(
    ("high_per_s", "low_per_s"), [(18.0, 9.0), (10.0, 1.0), (20.0, 2.0), (4.0, 2.0), (30.0, 3.0)]
)
def test_after_a_fall_no_more_is_launched_than_the_lower_load_asks_for(
    high_per_s: float, low_per_s: float, startup_s: float, most: int
) -> None:
    """From 18 to 9 a second it was 6 to 9, from 30 to 3 up to 26: the learnt rate fell too slowly.

    It is not 0: in ten minutes the lower load, which comes at random, asks for one more once or twice.
    """
    counts = [launches(high_per_s, low_per_s, startup_s, seed) for seed in SEEDS]
    assert max(counts) <= most
    assert sum(counts) <= 2 * most
