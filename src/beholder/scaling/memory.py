"""What the policy keeps from tick to tick: what it has learnt, what it has launched, what went wrong."""

from dataclasses import dataclass, field, replace
from math import inf

from beholder.scaling.estimate import BootTimes, Rate, ServiceTime
from beholder.scaling.limits import Limits

__all__ = ["Launched", "Memory", "Past"]

_SLOW_BOOTS_MIN = 3  # so many given up in a row may be slow rather than broken: then wait longer for the next


@dataclass(frozen=True, slots=True)
class Past:
    """The counts of the last observation."""

    now_s: float
    messages: int
    backlog: int
    arrived_total: int | None
    done_total: int | None
    ready: int


@dataclass(frozen=True, slots=True)
class Launched:
    """An instance that the fleet said it launched."""

    id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The policy's memory; `Memory()` knows nothing yet.

    Args:
        arrivals: The arrival rate.
        services: Instance seconds per message, by kind of instance.
        boots: Boot times; None until the first decision.
        past: The last observation's counts.
        unseen: Launched, and not yet among the instances that were seen.
        booting: When each instance that booted at the last look was launched.
        good_launch_s: When the youngest that came up was launched.
        failures: Failed boots in a row, none launched before that.
        held_until_s: No launch before this because boots failed.
        is_half_open: One launch is let through to see whether boots work again.
        refusals: Launches in a row that the cloud refused.
        refused_until_s: No launch before this because the cloud refused.
        refusal: What it said.
        excess_since_s: Since when more messages are in flight than the busy instances can hold.
        excess_low: How many more, at least, since then.
        phantoms: Messages in flight that are not believed in.
        suspects: When an instance was first suspected, by id; the reaper looks twice.
    """

    arrivals: Rate = field(default_factory=Rate)
    services: dict[str, ServiceTime] = field(default_factory=dict)
    boots: BootTimes | None = None
    past: Past | None = None
    unseen: tuple[Launched, ...] = ()
    booting: dict[str, float] = field(default_factory=dict)
    good_launch_s: float = -inf
    failures: int = 0
    held_until_s: float = 0.0
    is_half_open: bool = False
    refusals: int = 0
    refused_until_s: float = 0.0
    refusal: str = ""
    excess_since_s: float | None = None
    excess_low: int = 0
    phantoms: int = 0
    suspects: dict[str, float] = field(default_factory=dict)

    def boot_times(self, limits: Limits) -> BootTimes:
        """Return what is known of boots."""
        return self.boots if self.boots is not None else BootTimes.of(limits.boot_s)

    def service_s(self, kind: str, limits: Limits) -> float:
        """Return the instance seconds per message of a kind; of all kinds where this one is new."""
        known = self.services.get(kind) or self.services.get("")
        return known.mean_s if known is not None else limits.service_s

    def after_launch(self, ids: tuple[str, ...], now_s: float) -> "Memory":
        """Return the memory after the fleet launched these: they count at once, seen or not."""
        if not ids:
            return self
        fresh = tuple(Launched(one, now_s) for one in ids)
        return replace(self, unseen=self.unseen + fresh, refusals=0, refusal="")

    def after_refusal(self, reason: str, now_s: float, limits: Limits) -> "Memory":
        """Return the memory after the cloud refused (part of) a launch: wait, longer each time."""
        pause_s = min(limits.backoff_s_max, limits.backoff_s * 2.0 ** min(self.refusals, 20))
        return replace(self, refusals=self.refusals + 1, refused_until_s=now_s + pause_s, refusal=reason)

    def after_failed_boots(self, ages_s: tuple[float, ...], now_s: float, limits: Limits) -> "Memory":
        """Return the memory after boots failed: first replace, then wait, then open the circuit.

        Args:
            ages_s: How old each was when it was given up; after a few in a row they count as boots of that
                length, or a fleet that boots slower than expected would be given up for ever.
            now_s: The moment.
            limits: The operator's settings.
        """
        # One that was launched before another that came up says nothing of boots now.
        ages_s = tuple(age_s for age_s in ages_s if now_s - age_s > self.good_launch_s)
        if not ages_s:
            return self
        failures = self.failures + len(ages_s)
        pause_s = 0.0
        if failures > 1:
            pause_s = min(limits.backoff_s_max, limits.backoff_s * 2.0 ** min(failures - 2, 20))
        boots = self.boot_times(limits)
        for age_s in ages_s:
            is_news = failures >= _SLOW_BOOTS_MIN and age_s > boots.p95_s
            boots = boots.seen(age_s) if is_news else boots
        is_open = failures >= limits.failures_max
        return replace(
            self,
            boots=boots,
            failures=failures,
            held_until_s=max(self.held_until_s, now_s + pause_s) if pause_s else self.held_until_s,
            is_half_open=is_open,
        )
