"""How long an idle worker stays before it leaves: computed by the worker alone, from what it knows.

It knows the settings, how busy it was, and, from one LIST of the heartbeats, the instances that do not
drain and how many of those were launched before it. Work is spread evenly over a fleet: its own share of busy
time is everybody's, and `instances * busy_share` is the load in instances. The youngest leaves first, and a
worker leaves only where that saves more idle time than the next boot costs. So some of several idle workers
leave and the others stay, without a word between them.

The last one goes by what was learnt of the times without a message (`scaling.idle gaps`), and by its busy
share until there is something learnt.
"""

from dataclasses import dataclass, replace
from math import exp, inf, log

from beholder.draining.gaps import IdleGaps

__all__ = [
    "STAY_S_MIN",
    "BusyShare",
    "IdleLimit",
    "IdleSettings",
    "Seniority",
    "idle_limit_s",
    "is_last_look_needed",
]

STAY_S_MIN = 15.0
"""How long the last one of a fleet stays at least, in seconds: three ticks.

By then the queue's counts mostly tell of its last message.
"""

# Of one more instance's time; above this a cycle saves less than the estimate errs.
_LOAD_OVER_MAX = 0.95
_MEMORY_BOOTS = 0.3
_PATIENCE_SAVES = 0.5
# Part of the fall that one with older ones waits for: by then it has been idle for many times its usual gap.
# In the simulator a flash costs 2 % less so, and no more requests are late.
_YOUNG_STAY = 0.25
# A startup also makes somebody wait. By the simulator, from 1 to 2 hours rise by 3 % and a quarter fewer
# requests are late.
_BOOT_COSTS = 1.5
_NO_IDLE_GAPS = IdleGaps()


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """What a worker is told when it starts.

    Args:
        startup_s: What a startup takes: the cost of leaving too early.
        latency_goal_s: The goal beyond a startup, as in `Limits`.
        startup_patience: As in `Limits`: 1 where a request may wait for a startup, 0 where it may not.
        stay_min: Instances that never leave for being idle; the oldest stay.
        idle_s_max: Longest stay; None for a startup's time, the answer of ski rental, and for half of it
            where a request may wait for a startup.
        memory_s: Time constant of the busy share; None for 0.3 of a startup's time.
        savings_min: How many boots' worth of idle time leaving must save.
        stay_s_min: The last one stays at least so long: until the queue's counts tell of its last message.
            Who leaves before makes the controller see a message that is none, and boot for it.
    """

    startup_s: float = 200.0
    latency_goal_s: float = 30.0
    startup_patience: float = 1.0
    stay_min: int = 0
    idle_s_max: float | None = None
    memory_s: float | None = None
    savings_min: float = 2.0
    stay_s_min: float = 0.0

    @property
    def tau_s(self) -> float:
        """Return the time constant of the busy share."""
        return self.memory_s if self.memory_s is not None else max(1.0, self.startup_s * _MEMORY_BOOTS)

    @property
    def startup_cost_s(self) -> float:
        """Return what a startup costs in seconds of an instance, the wait for it included."""
        return self.startup_s * _BOOT_COSTS

    @property
    def longest_s(self) -> float:
        """Return the longest stay."""
        if self.idle_s_max is not None:
            return self.idle_s_max
        return self.startup_s * (1.0 - _PATIENCE_SAVES * self.startup_patience)


@dataclass(frozen=True, slots=True)
class BusyShare:
    """The share of its time that a worker was busy, recent time counting most.

    Args:
        share: At `at_s`.
        at_s: When it was last brought up to date.
    """

    share: float
    at_s: float

    def after(self, now_s: float, tau_s: float, *, is_busy: bool) -> "BusyShare":
        """Return the share at `now_s`, all time since `at_s` having been busy or not."""
        kept = exp(-max(0.0, now_s - self.at_s) / tau_s)
        return BusyShare(self.share * kept + (1.0 - kept if is_busy else 0.0), now_s)


@dataclass(frozen=True, slots=True)
class Seniority:
    """The instances of the fleet that do not drain, booting ones left out.

    Args:
        count: All of them, this one included; at least 1.
        older: How many of them were launched before this one.
    """

    count: int = 1
    older: int = 0


@dataclass(frozen=True, slots=True)
class IdleLimit:
    """How long to stay idle, counted from the last message, and why."""

    seconds: float
    reason: str


def idle_limit_s(
    settings: IdleSettings,
    busy: BusyShare,
    peers: Seniority,
    *,
    service_s: float,
    idle_gaps: IdleGaps = _NO_IDLE_GAPS,
) -> IdleLimit:
    """Return how long a worker that becomes idle now stays before it leaves.

    Ask again when the time is over: peers may have left meanwhile, and then it stays longer.

    Args:
        settings: What it was told when it started.
        busy: Its busy share at the moment it became idle.
        peers: The others, as they were last seen.
        service_s: Its time per message.
        idle_gaps: What is known of the times without a message; counts for the last one, where no longest
            stay is set.
    """
    if peers.older < settings.stay_min:
        return IdleLimit(inf, f"one of the {settings.stay_min} oldest, which stay")
    if peers.older == 0:
        limit = _limit_by_idle_gaps(settings, idle_gaps) or _limit_by_load(settings, busy, peers, service_s)
        return replace(limit, seconds=max(limit.seconds, settings.stay_s_min))
    return _limit_by_load(settings, busy, peers, service_s)


def _limit_by_idle_gaps(settings: IdleSettings, idle_gaps: IdleGaps) -> IdleLimit | None:
    stay_s = idle_gaps.stay_s(settings.startup_cost_s) if settings.idle_s_max is None else None
    if stay_s is None:
        return None
    known = len(idle_gaps.samples_s)
    return IdleLimit(stay_s, f"after {known} lulls, longer than {stay_s:.0f} s is not worth waiting")


def _limit_by_load(settings: IdleSettings, busy: BusyShare, peers: Seniority, service_s: float) -> IdleLimit:
    longest_s = settings.longest_s
    load = peers.count * min(1.0, busy.share)
    enough = _load_for_fewer(peers.older, settings, service_s)
    if load <= enough:
        return IdleLimit(0.0, f"a load of {load:.2f} is served by the {peers.older} older instances")
    # While it idles its share falls; it leaves when the load that this tells of is small enough.
    stay_s = settings.tau_s * log(load / enough) if enough > 0 else inf
    if peers.older:
        stay_s *= _YOUNG_STAY
    if stay_s < longest_s:
        return IdleLimit(stay_s, f"a load of {load:.2f} must have fallen to {enough:.2f} first")
    return IdleLimit(longest_s, f"idle for {longest_s:.0f} s, which is what waiting may cost at most")


def _load_for_fewer(fewer: int, settings: IdleSettings, service_s: float) -> float:
    """Return the greatest load, in instances, at which `fewer` instances serve for less than one more would.

    With `fewer` instances and a load of `fewer + f` the queue grows until the deadline wants one more; that
    one boots, and all drain the queue. Over such a cycle the one that left saves what it would have idled,
    `cycle * (1 - f)`, and costs one startup.
    """
    startup_s = settings.startup_s
    wait_s = settings.startup_patience * startup_s + settings.latency_goal_s
    cost_s = settings.savings_min * startup_s
    if fewer == 0:
        # No queue grows before the first message: one gap between messages is saved: (1 - f) / rate + boot.
        gap_s = max(cost_s - startup_s, service_s)
        return service_s / (gap_s + service_s)
    # cycle * (1 - f) = (1 - f) * (queued / f + boot) + queued + f * boot, in instance seconds:
    #                 = queued / f + boot, with queued = fewer * wait
    queued_s = fewer * wait_s
    over = cost_s - startup_s
    return fewer + min(_LOAD_OVER_MAX, queued_s / over if over > 0 else 1.0)


def is_last_look_needed(peers: Seniority) -> bool:
    """Say whether a worker must look at the queue once more between announcing and leaving.

    One that leaves while an older one serves need not: the older one receives whatever comes, and looks, at
    others or at the queue, before it leaves itself. Under a steady load there is always something in flight,
    so that a worker which waits for an empty queue never leaves a fleet that is too large.

    Args:
        peers: As they were seen after the announcement. Seen before it, an older one may announce and look
            in between, and a message that came then is seen by neither.
    """
    return peers.older == 0
