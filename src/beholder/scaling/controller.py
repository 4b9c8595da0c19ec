"""The controller: observe, decide, validate, act; one pass per tick, by the leader."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from beholder.clock import age_s
from beholder.errors import BackendDenied, BackendError
from beholder.fleet.port import Fleet, Launch
from beholder.scaling.policy.decision import Decision, FailedStartup, Termination
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import Observation
from beholder.scaling.policy.policy import decide
from beholder.scaling.policy.reaper import crashed, reap
from beholder.scaling.policy.state import PolicyState
from beholder.scaling.ports import Lease, RecordSink, Sensor
from beholder.scaling.records.record import Record
from beholder.telemetry.log import log_event

__all__ = ["Controller", "ControllerPorts", "SoleLeader"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ControllerPorts:
    """The ports of a controller.

    Args:
        sensor: Sees queue and fleet.
        fleet: Launches and terminates.
        lease: Says whether this controller leads.
        records: Keeps the record of each tick.
        new_token: Returns a name for a launch that no process used before.
        before: Returns the previous leader's last record; None if there is none.
    """

    sensor: Sensor
    fleet: Fleet
    lease: Lease
    records: RecordSink
    new_token: Callable[[], str]
    before: Callable[[], Record | None] = lambda: None


@dataclass(frozen=True, slots=True)
class _Attempt:
    count: int
    token: str


class Controller:
    """Keeps the fleet at the number of instances that the policy decides.

    Args:
        ports: The ports.
        limits: The operator's settings.
        name: The name of the controller in its records.
    """

    def __init__(self, ports: ControllerPorts, limits: Limits, *, name: str) -> None:
        self._ports = ports
        self._limits = limits
        self._name = name
        self._state = PolicyState()
        self._is_new = True
        self._attempt: _Attempt | None = None
        self._last: Record | None = None
        self._before: Observation | None = None

    @property
    def last(self) -> Record | None:
        """The record of the last tick that this controller led; None before."""
        return self._last

    @property
    def is_leading(self) -> bool:
        """Say whether this controller leads."""
        return self._ports.lease.is_held()

    @property
    def is_at_zero(self) -> bool:
        """Say whether this controller leads, and neither had nor wanted an instance at its last tick.

        If it wanted an instance and a bound forbade it, one more message changes nothing.
        """
        return self.is_leading and self._last is not None and self._last.decision.raw == 0

    def tick(self) -> float:
        """Do one pass; returns the seconds until the next.

        Raises:
            BackendError: Queue, fleet or lease cannot be reached; the next pass begins anew, and repeats
                a launch whose answer was lost, under its token.
        """
        if not self._ports.lease.hold():
            # A new leader begins with a new state: this one lacks what another leader launched meanwhile.
            self._is_new, self._attempt, self._before = True, None, None
            return self._limits.tick_s
        seen = self._aged(self._ports.sensor.observe())
        refused = self._repeat(seen)
        ended = crashed(seen, self._before, () if self._last is None else self._last.launched)
        self._before = seen
        terminated, self._state = reap(seen, self._state, self._limits)
        rest = _without(seen, terminated)
        decision, self._state = decide(rest, self._state, self._limits)
        failed = self._reported_failed_startups()
        if not self._ports.lease.is_held():
            return self._limits.tick_s
        launched: tuple[str, ...] = ()
        try:
            self._terminate(terminated)
            launch = self._launch(decision, seen.now_s)
            launched, refused = launch.ids, (*refused, *launch.refusals)
        except BackendError as exc:
            refused = (exc.message,)
            raise
        finally:
            self._last = replace(
                Record.of(seen, decision, leader=self._name),
                launched=launched,
                refused="; ".join(refused),
                terminated=(*terminated, *ended),
                failed_startups=failed,
                failures=self._state.failures,
                awaited_s=self._state.awaited_s(seen.now_s),
                learnt=self._state.learnt,
            )
            self._ports.records.write(self._last)
        return self._limits.tick_s

    def _aged(self, seen: Observation) -> Observation:
        """Return the observation; no instance is younger than an earlier leader recorded."""
        if self._is_new:
            before = self._ports.before()
            self._state, self._is_new = PolicyState(), False
            if before is not None:
                old_s = age_s(seen.now_s if seen.at_s is None else seen.at_s, before.at_s)
                if before.learnt is not None:
                    self._state = self._state.with_learnt(before.learnt, self._limits, old_s=old_s)
                self._state = self._state.after_takeover(
                    before.failures, before.awaited_s, old_s=old_s, now_s=seen.now_s
                )
        known = self._state.inherited
        if not known:
            return seen
        aged = tuple(
            replace(one, launched_at_s=min(one.launched_at_s, known.get(one.id, inf)))
            for one in seen.instances
        )
        return replace(seen, instances=aged)

    def _repeat(self, seen: Observation) -> tuple[str, ...]:
        """Repeat a launch whose answer was lost; its token makes both one launch."""
        if self._attempt is None:
            return ()
        launch = self._carry_out(self._attempt, seen.now_s)
        return launch.refusals

    def _launch(self, decision: Decision, now_s: float) -> Launch:
        if decision.launch == 0:
            return Launch(())
        return self._carry_out(_Attempt(decision.launch, self._ports.new_token()), now_s)

    def _carry_out(self, attempt: _Attempt, now_s: float) -> Launch:
        self._attempt = attempt
        if not self._ports.lease.is_held():  # a look that took long may have outlasted it
            return Launch(())
        try:
            launch = self._ports.fleet.launch(count=attempt.count, token=attempt.token)
        except BackendDenied as exc:
            launch = Launch((), (exc.message,))
        self._attempt = None
        self._state = self._state.after_launch(launch.ids, now_s)
        if launch.refusals:
            reason = "; ".join(dict.fromkeys(launch.refusals))
            self._state = self._state.after_refusal(reason, now_s, self._limits)
            log_event(
                _log, logging.WARNING, "controller.refused", reason, asked=attempt.count, got=len(launch.ids)
            )
        if launch.ids:
            log_event(_log, logging.INFO, "controller.launch", "launched instances", count=len(launch.ids))
        return launch

    def _reported_failed_startups(self) -> tuple[FailedStartup, ...]:
        """Log the failed startups that were found, and return them for the record."""
        failed = self._state.failed_startups
        if not failed:
            return ()
        self._state = replace(self._state, failed_startups=())
        for one in failed:
            facts = {"instance": one.id, "cause": one.cause, "in_a_row": self._state.failures}
            log_event(_log, logging.WARNING, "controller.startup_failed", one.why, **facts)
        return failed

    def _terminate(self, terminated: tuple[Termination, ...]) -> None:
        if not terminated:
            return
        if not self._ports.lease.is_held():
            return
        for one in terminated:
            log_event(
                _log, logging.WARNING, "controller.terminate", one.why, instance=one.id, cause=one.cause
            )
        self._ports.fleet.terminate([one.id for one in terminated])


def _without(seen: Observation, terminated: tuple[Termination, ...]) -> Observation:
    if not terminated:
        return seen
    gone = {one.id for one in terminated}
    return replace(seen, instances=tuple(one for one in seen.instances if one.id not in gone))


class SoleLeader:
    """The lease of a controller that has no rival: one machine, or the simulator."""

    def hold(self) -> bool:
        """Return True."""
        return True

    def is_held(self) -> bool:
        """Return True."""
        return True
