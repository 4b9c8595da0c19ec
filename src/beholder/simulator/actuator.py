"""The actuator of a policy, and how a worker naps between two polls."""

from collections.abc import Sequence
from typing import Protocol

from beholder.simulator.policy import ScalerTraits

__all__ = ["WorldActuator", "nap_left_s"]

# A wake that rounding puts just before the end of a nap counts as one at its end.
_ROUNDING_S = 1e-6


class _World(Protocol):
    def launch(self, now_s: float) -> int | None: ...

    def terminate(self, instance_id: int, now_s: float) -> None: ...


class WorldActuator:
    """Acts for a policy at the moment of its tick; see `Actuator`."""

    def __init__(self, world: _World, now_s: float) -> None:
        self._world, self._now_s = world, now_s

    def launch(self, count: int) -> tuple[int, ...]:
        """Launch instances; returns the ids of those that the cloud launched."""
        found = [self._world.launch(self._now_s) for _ in range(count)]
        return tuple(one for one in found if one is not None)

    def terminate(self, instance_ids: Sequence[int]) -> None:
        """End instances at once, whatever they do."""
        for instance_id in instance_ids:
            self._world.terminate(instance_id, self._now_s)


def nap_left_s(traits: ScalerTraits, idle_since_s: float, now_s: float) -> float:
    """Return how much longer an idle worker naps; 0 while it polls."""
    if traits.nap_s == 0:
        return 0.0
    cycle_s = traits.poll_s + traits.nap_s
    phase_s = (now_s - idle_since_s) % cycle_s
    left_s = cycle_s - phase_s
    return 0.0 if phase_s <= traits.poll_s or left_s < _ROUNDING_S else left_s
