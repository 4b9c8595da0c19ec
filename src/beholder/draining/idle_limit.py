"""How long an idle worker stays before it leaves: a pure function of what the worker itself knows.

A worker knows its settings, how busy it was, and, from one LIST of the heartbeats, the instances that do not
drain and how many of those were launched before it. Work is spread evenly over a fleet, so its own share of
busy time is that of every instance, and `instances * busy_share` is the load in instances. The youngest
leaves first, and a worker leaves only if that saves more idle time than the next startup costs. So of several
idle workers some leave and the others stay, without any message between them.

The last worker uses the idle gaps that were learnt (`draining.idle_gaps`), and its busy share until enough
gaps are known.
"""

from dataclasses import dataclass, replace
from math import exp, inf, log

from beholder.draining.idle_gaps import IdleGaps
from beholder.scaling.policy.limits import Aim
from beholder.scaling.policy.staffing import load_of

__all__ = [
    "BUSY_SHARE_AT_START",
    "EC2_BILL_S_MIN",
    "STARTUP_EVERY_S",
    "STAY_S_MIN",
    "BusyShare",
    "IdleLimit",
    "IdleSettings",
    "Seniority",
    "idle_limit_s",
    "is_final_check_needed",
]

STAY_S_MIN = 15.0
"""How long the last worker of a fleet stays at least, in seconds: three ticks of the controller.

By then the queue's counts mostly include its last message. Where a startup takes less than twice this, half a
startup is the least.
"""

EC2_BILL_S_MIN = 60.0
"""EC2 bills an instance with Linux by the second, and for a minute at least.

Source: AWS, "Announcing Amazon EC2 per second billing", October 2017; read 2026-11.
"""

STARTUP_EVERY_S = 600.0
"""Between two looks of a worker at the startup time that was learnt, each a GET."""

BUSY_SHARE_AT_START = 1.0
"""A worker is launched for a load, and stays until it knows better."""

# Share of one more instance's time; above this a cycle saves less than the estimate errs.
_LOAD_OVER_MAX = 0.95
# Time constant of the busy share, in startups, and at least: of fewer messages a load cannot be told.
_MEMORY_STARTUPS = 0.3
_MEMORY_S_MIN = 30.0
# How many startups' worth of idle time leaving must save.
_SAVINGS_MIN = 2.0
# Share of a startup that an idle worker stays at most where a request may wait for a startup.
_PATIENT_STAY = 0.5
# Part of the load that `older` instances can serve, below which this instance leaves them.
_STEADY_MARGIN = 0.9
# Part of the load's fall that a worker waits for if there are older workers: by then it has been idle for
# many times its usual gap. In the simulator a flash costs 2 % less this way, and no more requests are late.
_YOUNG_STAY = 0.25
# A startup also makes requests wait. In the simulator, from 1 to 2 the instance hours rise by 3 % and a
# quarter fewer requests are late.
_STARTUP_COSTS = 1.5
# The least stay of the last worker is no longer than this part of a startup: waiting for counts costs what a
# launch for nothing costs.
_STAY_STARTUPS_MIN = 0.5
# From the last worker's decision to its end: half of a long poll of 20 s, and the final poll.
_LAST_LEAVES_S = 11.0
_NO_IDLE_GAPS = IdleGaps()


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """What a worker knows from its start.

    Args:
        startup_s: How long a startup takes: the cost of leaving too early.
        latency_goal_s: The goal, as in `scaling.Limits`.
        aim: As in `scaling.Limits`.
        stay_min: Instances that never leave for being idle; the oldest stay.
        idle_s_max: A fixed stay, whatever the load was; infinity for ever. None to compute it: at most a
            startup's time, the answer of ski rental, and half of it if a request may wait for a startup.
        bill_s_min: The bill of an instance is for at least so long: leaving earlier saves nothing.
        stay_s_min: How long the last worker stays at least, until the queue's counts include its last
            message. If it leaves earlier, the controller sees a message that no longer exists and launches
            for it.
    """

    startup_s: float = 200.0
    latency_goal_s: float = 30.0
    aim: Aim = Aim.STEADY
    stay_min: int = 0
    idle_s_max: float | None = None
    bill_s_min: float = 0.0
    stay_s_min: float = 0.0

    @property
    def tau_s(self) -> float:
        """The time constant of the busy share."""
        return max(_MEMORY_S_MIN, self.startup_s * _MEMORY_STARTUPS)

    @property
    def startup_cost_s(self) -> float:
        """What a startup costs in seconds of an instance, the wait for it included."""
        return self.startup_s * _STARTUP_COSTS

    @property
    def longest_s(self) -> float:
        """The longest stay that is computed."""
        return self.startup_s * (_PATIENT_STAY if self.aim is Aim.DEADLINE else 1.0)


@dataclass(frozen=True, slots=True)
class BusyShare:
    """The share of its time that a worker was busy; recent time counts most.

    Args:
        share: At `at_s`.
        at_s: When it was last updated.
    """

    share: float
    at_s: float

    def after(self, now_s: float, tau_s: float, *, is_busy: bool) -> "BusyShare":
        """Return the share at `now_s`, if the worker was busy, or idle, all the time since `at_s`."""
        kept = exp(-max(0.0, now_s - self.at_s) / tau_s)
        return BusyShare(self.share * kept + (1.0 - kept if is_busy else 0.0), now_s)


@dataclass(frozen=True, slots=True)
class Seniority:
    """The instances of the fleet that do not drain, except those that start up.

    Args:
        count: All of them, this instance included; at least 1.
        older: How many of them were launched before this instance.
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
    age_s: float = inf,
) -> IdleLimit:
    """Return how long a worker that becomes idle now stays before it leaves.

    Ask again when the time is over: if other workers have left meanwhile, it stays longer.

    Args:
        settings: What the worker knows from its start.
        busy: Its busy share at the moment it became idle.
        peers: The other workers, as last seen.
        service_s: Its time per message.
        idle_gaps: The gaps that are known; they count for the last worker.
        age_s: How long before it became idle its instance was launched.
    """
    if settings.idle_s_max == inf:
        return IdleLimit(inf, "workers stay")
    if peers.older < settings.stay_min:
        return IdleLimit(inf, f"one of the {settings.stay_min} oldest, which stay")
    if settings.idle_s_max is not None:
        return IdleLimit(settings.idle_s_max, f"{settings.idle_s_max:.0f} s are allowed")
    if peers.older == 0:
        limit = _limit_by_idle_gaps(settings, idle_gaps) or _limit_by_load(settings, busy, peers, service_s)
        least_s = min(settings.stay_s_min, settings.startup_s * _STAY_STARTUPS_MIN)
        limit = replace(limit, seconds=max(limit.seconds, least_s))
    else:
        limit = _limit_by_load(settings, busy, peers, service_s)
    paid_s = settings.bill_s_min - age_s - (_LAST_LEAVES_S if peers.older == 0 else 0.0)
    if limit.seconds >= paid_s:
        return limit
    return IdleLimit(paid_s, f"the first {settings.bill_s_min:.0f} s are paid for")


def _limit_by_idle_gaps(settings: IdleSettings, idle_gaps: IdleGaps) -> IdleLimit | None:
    stay_s = idle_gaps.stay_s(settings.startup_cost_s)
    if stay_s is None:
        return None
    known = len(idle_gaps.samples_s)
    return IdleLimit(stay_s, f"after {known} idle gaps, more than {stay_s:.0f} s is not worth waiting")


def _limit_by_load(settings: IdleSettings, busy: BusyShare, peers: Seniority, service_s: float) -> IdleLimit:
    longest_s = settings.longest_s
    load = peers.count * min(1.0, busy.share)
    enough = _load_for_fewer(peers.older, settings, service_s)
    if load <= enough:
        return IdleLimit(0.0, f"the {peers.older} older instances serve a load of {load:.2f}")
    # While the worker idles its share falls; it leaves when the load computed from the share is small enough.
    stay_s = settings.tau_s * log(load / enough) if enough > 0 else inf
    if peers.older:
        stay_s *= _YOUNG_STAY
    if stay_s < longest_s:
        return IdleLimit(stay_s, f"a load of {load:.2f} must have fallen to {enough:.2f} first")
    return IdleLimit(longest_s, f"idle for {longest_s:.0f} s, which is what waiting may cost at most")


def _load_for_fewer(fewer: int, settings: IdleSettings, service_s: float) -> float:
    """Return the greatest load, in instances, at which `fewer` instances cost less than `fewer + 1`.

    With `fewer` instances and a load of `fewer + f` the queue grows until the deadline demands one more; it
    starts up, and all drain the queue. Over such a cycle the instance that left saves what it would have
    idled, `cycle * (1 - f)`, and costs one startup.
    """
    startup_s = settings.startup_s
    if settings.aim is Aim.STEADY and fewer > 0:
        return load_of(fewer) * _STEADY_MARGIN
    wait_s = startup_s + settings.latency_goal_s
    cost_s = _SAVINGS_MIN * startup_s
    if fewer == 0:
        # No queue grows before the first message. One gap between messages is saved: (1 - f) / rate +
        # startup.
        gap_s = max(cost_s - startup_s, service_s)
        return service_s / (gap_s + service_s)
    # cycle * (1 - f) = (1 - f) * (queued / f + startup) + queued + f * startup, in instance seconds:
    #                 = queued / f + startup, with queued = fewer * wait
    queued_s = fewer * wait_s
    over = cost_s - startup_s
    return fewer + min(_LOAD_OVER_MAX, queued_s / over if over > 0 else 1.0)


def is_final_check_needed(peers: Seniority) -> bool:
    """Say whether a worker must check the queue once more between announcing and leaving.

    A worker that leaves while an older worker serves need not: the older worker receives whatever comes, and
    checks the other workers or the queue before it leaves itself. Under a steady load messages are always in
    flight, so a worker that waits for an empty queue would never leave a fleet that is too large.

    Args:
        peers: As seen after the announcement. If they are seen before it, an older worker may announce and
            check in between, and neither sees a message that comes then.
    """
    return peers.older == 0
