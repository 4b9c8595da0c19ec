"""The simulated cloud: its instances, their startup times, interruptions and costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from beholder.draining.idle_limit import EC2_BILL_S_MIN
from beholder.scaling.policy.observation import InstanceState
from beholder.simulator.policy import InstanceView, KillRule, WorldLimits
from beholder.simulator.traffic import Times

__all__ = ["Cloud", "Instance", "WorldSettings", "service_times", "take_idle"]

_HOUR_S = 3600.0
_DRAWS = 1024
# Age at which an instance that never comes up is terminated, in mean startup times.
_PATIENCE_STARTUPS = 2.5


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """The settings of the world, the same for every policy.

    Args:
        limits: The bounds and guesses that every policy gets.
        startup_spread: Sigma of the log of startup times around their mean; 0 makes all equal.
        startup_failures: Share of launches that never come up.
        failing_s: From when until when no launch comes up.
        fails_after_s: When an instance that never comes up ends itself; inf where it hangs.
        refusals: Share of launches that the cloud refuses.
        refusing_s: From when until when the cloud refuses every launch.
        service_spread: Standard deviation of service times over their mean (gamma); 0 makes all equal.
        queue_lag_s: How old the queue's approximate counts are when they are read.
        queue_noise: Standard deviation of these counts over their value.
        web_lag_s: How old the web processes' own counts are when they are read; 0 where all images come by
            the leader's web process, whose first message also wakes it.
        visibility_timeout_s: How long after its receive a killed worker's message is visible again.
        slower_from_s: From when on services and startups take longer, as after a change of model and image.
        slower_services: So many times as long.
        slower_startups: So many times as long.
        interruptions_per_hour: How often spot interrupts an instance, with two minutes' notice.
        tail_s_max: How long the run goes on after the traffic's end, at most.
        seed: The seed of every draw.
    """

    limits: WorldLimits = field(default_factory=WorldLimits)
    startup_spread: float = 0.15
    startup_failures: float = 0.0
    failing_s: tuple[float, float] = (0.0, 0.0)
    fails_after_s: float = math.inf
    refusals: float = 0.0
    refusing_s: tuple[float, float] = (0.0, 0.0)
    service_spread: float = 0.0
    queue_lag_s: float = 3.0
    queue_noise: float = 0.0
    web_lag_s: float = 0.0
    visibility_timeout_s: float = 30.0
    slower_from_s: float = math.inf
    slower_services: float = 1.0
    slower_startups: float = 1.0
    interruptions_per_hour: float = 0.0
    tail_s_max: float = 7200.0
    seed: int = 1


class Instance:
    """One instance; `idle_since_s` is inf while it has a job or does not receive."""

    __slots__ = (
        "drained_at_s",
        "gone_at_s",
        "idle_since_s",
        "instance_id",
        "launched_at_s",
        "left_at_s",
        "notice_at_s",
        "put_off_since_s",
        "ready_at_s",
        "startup_s",
        "state",
        "timer_at_s",
    )

    def __init__(self, instance_id: int, launched_at_s: float, startup_s: float, notice_at_s: float) -> None:
        """`startup_s` is inf if the instance never comes up; `notice_at_s` is the time of its spot notice."""
        self.instance_id = instance_id
        self.launched_at_s = launched_at_s
        self.startup_s = startup_s
        self.notice_at_s = notice_at_s
        self.ready_at_s = math.inf
        self.left_at_s = math.inf
        self.gone_at_s = math.inf
        self.idle_since_s = math.inf
        self.timer_at_s = math.inf
        self.put_off_since_s = math.inf
        self.drained_at_s = math.inf
        self.state = InstanceState.PENDING

    def view(self) -> InstanceView:
        """Return what a policy may see of the instance."""
        is_up = self.ready_at_s < math.inf
        is_busy = is_up and self.idle_since_s == math.inf
        return InstanceView(
            self.instance_id,
            self.launched_at_s,
            self.ready_at_s if is_up else None,
            self.state,
            is_busy,
        )


class Cloud:
    """Launches instances, ends them, and keeps the bill.

    The draws for the n-th launch depend on the seed and on n alone, so that every policy gets the same draws.
    """

    def __init__(self, settings: WorldSettings) -> None:
        self._settings = settings
        self._startup_rng, self._luck_rng, self._spot_rng, self._victim_rng = (
            np.random.default_rng([settings.seed, number]) for number in (11, 12, 13, 14)
        )
        self._startups: list[float] = []
        self._luck: list[float] = []
        self._ended: list[Instance] = []
        self._count = 0
        self.alive: dict[int, Instance] = {}
        self.startup_count = 0
        self.failed_startup_count = 0
        self.refused_count = 0

    def ends_s(self, *, is_watched: bool) -> float:
        """Return how long an instance that never comes up lives; inf if the policy has to terminate it.

        Args:
            is_watched: The policy terminates such instances itself.
        """
        patience_s = math.inf if is_watched else _PATIENCE_STARTUPS * self._settings.limits.startup_s
        return min(self._settings.fails_after_s, patience_s)

    def launch(self, now_s: float) -> Instance | None:
        """Return a new instance, or None if the cloud refuses the launch."""
        if self._luck_of_launch() < self._settings.refusals or _is_in(now_s, self._settings.refusing_s):
            self.refused_count += 1
            return None
        self.startup_count += 1
        startup_s = self._startup()
        if now_s >= self._settings.slower_from_s:
            startup_s *= self._settings.slower_startups
        if self._luck_of_launch() < self._settings.startup_failures or _is_in(
            now_s, self._settings.failing_s
        ):
            self.failed_startup_count += 1
            startup_s = math.inf
        rate = self._settings.interruptions_per_hour
        notice_at_s = now_s + float(self._spot_rng.exponential(_HOUR_S / rate)) if rate > 0 else math.inf
        return self._begin(now_s, startup_s, notice_at_s)

    def launch_warm(self, now_s: float) -> Instance:
        """Return an instance that is in service from the start of the run."""
        return self._begin(now_s, 0.0, math.inf)

    def end(self, instance: Instance, now_s: float) -> None:
        """End an instance's bill; does nothing if it has ended already."""
        if self.alive.pop(instance.instance_id, None) is not None:
            instance.gone_at_s = now_s
            self._ended.append(instance)

    def victims(self, surplus: int, candidates: Sequence[Instance], kill: KillRule) -> list[Instance]:
        """Return the instances that a product ends: pending instances, newest first, then by its rule.

        Args:
            surplus: How many.
            candidates: The instances in service among which it can choose.
            kill: IDLE takes the longest idle instances; every other rule takes any at random.
        """
        alive = self.alive.values()
        pending = [one for one in alive if one.state is InstanceState.PENDING][::-1][:surplus]
        rest = surplus - len(pending)
        if kill is KillRule.IDLE:
            return pending + sorted(candidates, key=lambda one: (one.idle_since_s, one.instance_id))[:rest]
        order = self._victim_rng.permutation(len(candidates)).tolist()[:rest]
        return pending + [candidates[index] for index in order]

    def bill_s(self, now_s: float) -> float:
        """Return the seconds to pay for; instances that are alive are billed until now."""
        lives = [(one.launched_at_s, min(one.gone_at_s, now_s)) for one in self._all()]
        return float(sum(max(math.ceil(gone - launched - 1e-9), EC2_BILL_S_MIN) for launched, gone in lives))

    def in_service_s(self, now_s: float) -> float:
        """Return the seconds in service, the last job of a draining instance included, over all instances."""
        return float(
            sum(
                max(min(one.left_at_s, one.gone_at_s, now_s) - one.ready_at_s, 0.0)
                for one in self._all()
                if one.ready_at_s < math.inf
            )
        )

    def _all(self) -> list[Instance]:
        return [*self._ended, *self.alive.values()]

    def _begin(self, now_s: float, startup_s: float, notice_at_s: float) -> Instance:
        instance = Instance(self._count, now_s, startup_s, notice_at_s)
        self._count += 1
        self.alive[instance.instance_id] = instance
        return instance

    def _startup(self) -> float:
        if not self._startups:
            mean, sigma = self._settings.limits.startup_s, self._settings.startup_spread
            if sigma > 0 and mean > 0:
                draws = self._startup_rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, _DRAWS)
                self._startups = draws.tolist()
            else:
                self._startups = list(repeat(mean, _DRAWS))
        return self._startups.pop()

    def _luck_of_launch(self) -> float:
        if not self._luck:
            self._luck = self._luck_rng.random(_DRAWS).tolist()
        return self._luck.pop()


def _is_in(now_s: float, window_s: tuple[float, float]) -> bool:
    return window_s[0] <= now_s < window_s[1]


def service_times(settings: WorldSettings, rng: np.random.Generator, arrivals_s: Times) -> list[float]:
    """Return how long each request takes, in seconds."""
    mean, spread, count = settings.limits.service_s, settings.service_spread, len(arrivals_s)
    draws = rng.gamma(1.0 / spread**2, mean * spread**2, count) if spread else np.full(count, mean)
    slower = np.where(arrivals_s >= settings.slower_from_s, settings.slower_services, 1.0)
    times: list[float] = (draws * slower).tolist()
    return times


def take_idle(idle: list[Instance], share: float) -> Instance:
    """Take an idle worker at random: the queue may answer any of the open long polls."""
    index = int(share * len(idle))
    instance, idle[index] = idle[index], idle[-1]
    idle.pop()
    return instance
