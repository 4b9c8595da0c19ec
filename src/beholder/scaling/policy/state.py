"""The state that the policy keeps between ticks: its estimates, its launches, its failures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from beholder.clock import age_s
from beholder.scaling.policy.decision import FailedStartup
from beholder.scaling.policy.estimate import MessageCount, Rate, ServiceTime, StartupTimes
from beholder.scaling.policy.learnt import Learnt, LearntService
from beholder.scaling.policy.limits import Limits

__all__ = ["FAILURES_MAX", "FAST_TAUS", "SLOW_TAUS", "Launched", "Past", "PolicyState"]

_PATIENCE_S_MIN = 30.0
# The time constant of the slow arrival rate, in those of the other.
SLOW_TAUS = 5.0
# And of the fast one, which has forgotten a load that is gone before workers leave.
FAST_TAUS = 0.125
# So many failed startups in a row open the circuit.
FAILURES_MAX = 5
# After so many circuits' worth of failures in a row, what was learnt may be of another image.
_FORGET_CIRCUITS = 2
# So many launches on trial hang at once at most where startups take minutes: with fewer the queue is served
# late once startups succeed again.
_TRIALS = 3
_TRIAL_S_MIN = 60.0
# Capacity that comes back is used within a minute: a pause, two ticks, and the call.
_REFUSED_S_MAX = 45.0
# What an earlier leader wrote says nothing of startups now if it is older; clocks may be minutes off.
_INHERITED_S_MAX = 900.0


@dataclass(frozen=True, slots=True)
class Past:
    """The counts of the last observation.

    Args:
        now_s: Its moment.
        messages: All messages, without those stuck in flight.
        backlog: Visible messages.
        in_flight: Messages in flight, without those stuck.
        ready: Instances in service.
        busy: Those of them that hold a message by their last heartbeats.
    """

    now_s: float
    messages: int
    backlog: int
    in_flight: int
    ready: int
    busy: int


@dataclass(frozen=True, slots=True)
class Launched:
    """An instance that the fleet launched, by its answer."""

    id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy's state; `PolicyState()` knows nothing yet.

    Args:
        arrivals: The arrival rate.
        arrivals_slow: The arrival rate over a longer time; the two together tell growth.
        arrivals_fast: The arrival rate of the last seconds; what it lacks of the others is gone.
        messages: The messages that are there.
        services: Instance seconds per message, by instance type.
        startups: Startup times; None until the first decision.
        past: The last observation's counts.
        unseen: Launched, and not yet among the instances that were seen.
        inherited: When an earlier leader's instances were launched, those that it awaited.
        starting: When each instance that was pending at the last look was launched.
        good_launch_s: When the youngest instance that came up was launched.
        failures: Failed startups in a row, none launched before the last good one.
        failed_startups: Those that were found since the last record.
        given_up: Ids of those that count as failed already, for as long as the fleet shows them.
        held_until_s: No launch before this because startups failed.
        is_half_open: One launch is let through to see whether startups succeed again.
        refusals: Launches in a row that the cloud refused.
        refused_until_s: No launch before this because the cloud refused.
        refusal: What it said.
        excess_since_s: Since when more messages are in flight than the busy instances can hold.
        excess_low: How many more, at least, since then.
        stuck_in_flight: Messages in flight that are not believed in.
        suspects: When an instance was first suspected, by id; the reaper looks twice.
    """

    arrivals: Rate = field(default_factory=Rate)
    arrivals_slow: Rate = field(default_factory=Rate)
    arrivals_fast: Rate = field(default_factory=Rate)
    messages: MessageCount = field(default_factory=MessageCount)
    services: dict[str, ServiceTime] = field(default_factory=dict)
    startups: StartupTimes | None = None
    past: Past | None = None
    unseen: tuple[Launched, ...] = ()
    inherited: dict[str, float] = field(default_factory=dict)
    starting: dict[str, float] = field(default_factory=dict)
    good_launch_s: float = -inf
    failures: int = 0
    failed_startups: tuple[FailedStartup, ...] = ()
    given_up: frozenset[str] = frozenset()
    held_until_s: float = 0.0
    is_half_open: bool = False
    refusals: int = 0
    refused_until_s: float = 0.0
    refusal: str = ""
    excess_since_s: float | None = None
    excess_low: int = 0
    stuck_in_flight: int = 0
    suspects: dict[str, float] = field(default_factory=dict)

    def startup_times(self, limits: Limits) -> StartupTimes:
        """Return the estimate of startup times."""
        return self.startups if self.startups is not None else StartupTimes.of(limits.startup_s)

    def patience_s(self, limits: Limits) -> float:
        """Return after how long without a heartbeat a startup is given up: twice the p95.

        Where startups go on failing, the prior counts again: they may have become slower.
        """
        p95_s = self.startup_times(limits).p95_s
        if self.failures >= _FORGET_CIRCUITS * FAILURES_MAX:
            p95_s = max(p95_s, StartupTimes.of(limits.startup_s).p95_s)
        return max(_PATIENCE_S_MIN, 2.0 * p95_s)

    def trial_s(self, limits: Limits) -> float:
        """Return how long a launch that shows whether startups succeed again holds the next one back.

        For no longer than a good startup takes: a slower one may still come up, but the next does not wait.
        """
        return max(_TRIAL_S_MIN, min(self.patience_s(limits) / _TRIALS, self.startup_times(limits).p95_s))

    def pause_s(self, failures: int, limits: Limits) -> float:
        """Return the pause from a failed launch to the next one: it doubles, up to half of a startup."""
        longest_s = min(limits.backoff_s_max, max(_TRIAL_S_MIN, self.startup_times(limits).median_s / 2))
        return min(longest_s, limits.backoff_s * 2.0 ** min(failures - 2, 20))

    def is_overdue(self, age_s: float, limits: Limits) -> bool:
        """Say whether a startup of this age counts for nothing, since the ones before it failed."""
        if self.is_half_open:
            return age_s >= self.trial_s(limits)
        return self.failures > 0 and age_s > self.startup_times(limits).p95_s

    def service_s(self, instance_type: str, limits: Limits) -> float:
        """Return the instance seconds per message on a type; over all types where this one is new."""
        known = self.services.get(instance_type) or self.services.get("")
        return known.mean_s if known is not None else limits.service_s

    def arrivals_after(self, after_s: float, limits: Limits, *, share_max: float) -> float:
        """Return the arrival rate that is expected after a time, if growth goes on.

        A further fall is not expected, but what the last seconds did not have is not expected back: a rate
        that is remembered is no demand.

        Args:
            after_s: The time.
            limits: The operator's settings.
            share_max: Growth adds no more than this share of the present rate.
        """
        # Under steady growth a mean lags behind by its time constant.
        apart_s = (SLOW_TAUS - 1.0) * limits.arrivals_tau_s
        growth_per_s = max(0.0, self.arrivals.per_s - self.arrivals_slow.per_s) / apart_s
        return self.present_per_s + min(growth_per_s * after_s, share_max * self.present_per_s)

    @property
    def present_per_s(self) -> float:
        """The arrival rate, as far as the last seconds show it too."""
        return min(self.arrivals.per_s, self.arrivals_fast.per_s)

    def awaited_s(self, now_s: float) -> dict[str, float]:
        """Return how long ago each instance was launched that is on its way."""
        launched = {one.id: one.at_s for one in self.unseen} | self.starting
        return {one: age_s(now_s, at_s) for one, at_s in launched.items()}

    @property
    def learnt(self) -> Learnt:
        """What the next leader continues with."""
        return Learnt(
            startups_s=() if self.startups is None else self.startups.samples_s,
            services=tuple(LearntService(name, one.mean_s, one.count) for name, one in self.services.items()),
            arrivals_per_s=self.arrivals.per_s,
            arrivals_slow_per_s=self.arrivals_slow.per_s,
        )

    def with_learnt(self, learnt: Learnt, limits: Limits, *, old_s: float) -> "PolicyState":
        """Return the state of a new leader that continues with the estimates of the earlier leader.

        Args:
            learnt: Those estimates.
            limits: The operator's settings.
            old_s: Their age; arrival rates count only while they are young.
        """
        services = {one.instance_type: ServiceTime(one.mean_s, one.count) for one in learnt.services}
        startups = StartupTimes.of(limits.startup_s, learnt.startups_s)
        state = replace(self, services=services, startups=startups)
        if old_s > _INHERITED_S_MAX:
            return state
        tau_s = limits.arrivals_tau_s
        return replace(
            state,
            arrivals=Rate(learnt.arrivals_per_s, tau_s),
            arrivals_fast=Rate(learnt.arrivals_per_s, FAST_TAUS * tau_s),
            arrivals_slow=Rate(learnt.arrivals_slow_per_s, SLOW_TAUS * tau_s),
        )

    def after_takeover(
        self, failures: int, awaited_s: Mapping[str, float], *, old_s: float, now_s: float
    ) -> "PolicyState":
        """Return the state of a new leader, which continues the count of failures of the earlier leader.

        A pause does not begin anew: where leaders change often, nothing would be launched.

        Args:
            failures: Failed startups in a row, by the earlier leader's last record.
            awaited_s: How long ago each instance was launched that it awaited.
            old_s: Age of that record.
            now_s: The moment, by the clock of the ages.
        """
        if old_s > _INHERITED_S_MAX:
            return self
        launched = {one: now_s - launched_s for one, launched_s in awaited_s.items()}
        return replace(
            self,
            unseen=tuple(Launched(one, launched_s) for one, launched_s in launched.items()),
            inherited=launched,
            failures=failures,
            is_half_open=failures >= FAILURES_MAX,
        )

    def after_launch(self, ids: tuple[str, ...], now_s: float) -> "PolicyState":
        """Return the state after the fleet launched these instances, which count at once."""
        if not ids:
            return self
        fresh = tuple(Launched(one, now_s) for one in ids)
        return replace(self, unseen=self.unseen + fresh, refusals=0, refusal="")

    def after_refusal(self, reason: str, now_s: float, limits: Limits) -> "PolicyState":
        """Return the state after the cloud refused (part of) a launch: wait, longer each time."""
        longest_s = min(limits.backoff_s_max, _REFUSED_S_MAX)
        pause_s = min(longest_s, limits.backoff_s * 2.0 ** min(self.refusals, 20))
        return replace(self, refusals=self.refusals + 1, refused_until_s=now_s + pause_s, refusal=reason)

    def after_failed_startups(
        self, failed: tuple[FailedStartup, ...], now_s: float, limits: Limits
    ) -> "PolicyState":
        """Return the state after failed startups: first replace, then wait, then open the circuit.

        Pauses count from launch to launch: a startup that hung for long was a pause itself.

        Args:
            failed: The failed startups that were found now; each counts once.
            now_s: The moment.
            limits: The operator's settings.
        """
        failed = tuple(one for one in failed if one.id not in self.given_up)
        if not failed:
            return self
        state = replace(
            self,
            failed_startups=self.failed_startups + failed,
            given_up=self.given_up | {one.id for one in failed},
        )
        # A launch from before a good one says nothing of startups now.
        launches_s = [now_s - one.age_s for one in failed if now_s - one.age_s > self.good_launch_s]
        if not launches_s:
            return state
        failures = self.failures + len(launches_s)
        held_until_s = self.held_until_s
        if failures > 1:
            held_until_s = max(held_until_s, max(launches_s) + self.pause_s(failures, limits))
        return replace(
            state,
            failures=failures,
            held_until_s=held_until_s,
            is_half_open=failures >= FAILURES_MAX,
        )
