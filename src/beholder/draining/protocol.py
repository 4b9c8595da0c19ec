"""How an idle worker leaves: it announces that it drains, then checks the queue, and only then goes.

    SERVING → ANNOUNCED → CHECKING → LEFT
       ▲          │           │
       └──────────┴───────────┘ there is work after all

A message may be sent at any moment, and a controller that sees a worker in service starts no other. So the
order
decides: a worker announces first and checks the queue afterwards, and the controller looks at the fleet after
    a
message was sent. The worker sees what was sent before its announcement; for what is sent after it, the
controller sees no worker that it could count on.

The counts of a queue lag, but a poll does not: a poll that begins after the announcement, waits, and returns
nothing proves that no message from before the announcement is visible. If the poll returns a message, the
worker processes it and serves on. A worker whose queue has exact counts makes no such poll. A worker that
could not poll waits until the counts must include everything from before the announcement. Source: Amazon SQS
Developer Guide, "Short and long polling", 2026-11: a long poll asks all servers of the queue, a short poll
only some of them.

Messages in flight count too: if the worker that holds a message dies, the message becomes visible after this
worker has gone.

A worker that finds an older worker in service after its own announcement need not check the queue: the older
worker receives whatever comes, and it announces and checks in turn before it leaves. The announcement comes
first here too: of two workers that each take the other for older, the second to announce finds the first
draining, so at least one of them checks.

`tests/property/test_draining_model.py` explores the interleavings.
"""

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.queue.port import Depth
from beholder.telemetry.log import log_event

__all__ = [
    "Announced",
    "DrainDecision",
    "DrainLimits",
    "DrainProtocol",
    "DrainState",
    "DrainingWorker",
    "FinalPoll",
    "IdleRule",
    "IdleTimeout",
    "decision_on",
]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
# Between two looks while the worker finishes what it holds, which takes moments.
_EMPTYING_TICK_S = 0.1

Announced = Literal["in_service", "draining"]


class DrainState(enum.Enum):
    """Where a worker stands on its way out."""

    SERVING = "serving"
    ANNOUNCED = "announced"
    CHECKING = "checking"
    LEFT = "left"


class FinalPoll(enum.Enum):
    """What the poll after the announcement returned, in a worker that is paused."""

    EMPTY = "empty"
    FOUND = "found"


class DrainingWorker(Protocol):
    """What the protocol needs of a worker; any thread may use every member, and no member blocks."""

    def pause(self) -> None:
        """Receive nothing more, except by a final poll; what a running receive returns is still processed.

        A second call does nothing.
        """
        ...

    def resume(self) -> None:
        """Receive again."""
        ...

    def drain(self) -> None:
        """Hand back, for good, what is held and not begun; a second call does nothing."""
        ...

    @property
    def is_paused_and_empty(self) -> bool:
        """Say whether the worker is paused and holds nothing, and no receive is running or to come."""
        ...

    @property
    def final_poll(self) -> FinalPoll | None:
        """What a poll returned that began or ended after the pause; None before it."""
        ...

    @property
    def idle_since_s(self) -> float | None:
        """Since when the worker has had no message, by the protocol's clock; None while it has a message."""
        ...


@dataclass(frozen=True, slots=True)
class DrainDecision:
    """Whether to leave, and why or why not.

    Args:
        leaves: Whether to leave.
        reason: In words.
        needs_check: Whether the worker must check the queue after the announcement in any case. If False, the
            protocol asks the rule again after the announcement.
    """

    leaves: bool
    reason: str
    needs_check: bool = True


class IdleRule(Protocol):
    """Decides how long a worker stays without work."""

    def decide(self, idle_s: float) -> DrainDecision:
        """Decide whether a worker leaves after so many seconds without a message.

        Raises:
            BackendError: The other workers cannot be listed.
        """
        ...

    def is_final_check_needed(self) -> bool:
        """List the other workers anew, after the announcement, and say whether to check the queue.

        Returns:
            False if an older worker is in service, does not drain, and wrote its heartbeat not long ago.

        Raises:
            BackendError: The other workers cannot be listed.
        """
        ...

    def before_exit(self) -> None:
        """Store what the successor needs; the protocol calls it right before the worker leaves."""
        ...


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """An `IdleRule` with a fixed time, for a worker that no controller counts.

    Args:
        idle_s_max: How long the worker stays without a message.
    """

    idle_s_max: float

    def decide(self, idle_s: float) -> DrainDecision:
        """Leave once the time has passed."""
        leaves = idle_s >= self.idle_s_max
        return DrainDecision(leaves, f"idle for {idle_s:.0f} s of {self.idle_s_max:.0f} s")

    def is_final_check_needed(self) -> bool:
        """Return True: it knows of no other worker."""
        return True

    def before_exit(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """The times of the protocol, all in seconds.

    Args:
        lag_s: More than the counts of the queue lag behind. Without a final poll, the last check comes this
            long after the worker was empty. 0 if the counts are exact.
            Source: SQS API reference, GetQueueAttributes, 2026-10: counts "may not achieve consistency until
            at least 1 minute after the producers stop sending".
        check_every_s: Between two checks; a message that arrives meanwhile waits at most this long.
        retry_s: In service between two attempts to leave.
        in_flight_s_max: How long messages in flight elsewhere can put off leaving while this worker receives
            nothing. Longer than the visibility timeout, within which the messages of a dead worker return.
        look_every_s: In service between two looks whether the worker is to leave.
    """

    lag_s: float = 65.0
    check_every_s: float = 5.0
    retry_s: float = 15.0
    in_flight_s_max: float = 120.0
    look_every_s: float = 1.0


def decision_on(depth: Depth, *, put_off_s: float, in_flight_s_max: float) -> DrainDecision:
    """Decide by the queue's counts whether a worker that holds nothing can leave.

    Args:
        depth: The counts.
        put_off_s: How long messages in flight elsewhere have put it off.
        in_flight_s_max: How long they can.
    """
    if depth.backlog or depth.delayed:
        return DrainDecision(leaves=False, reason=f"{depth.backlog} visible, {depth.delayed} delayed")
    if depth.in_flight and put_off_s < in_flight_s_max:
        return DrainDecision(leaves=False, reason=f"{depth.in_flight} in flight elsewhere")
    if depth.in_flight:
        # The workers that hold them live: the messages of a dead worker would be visible by now.
        return DrainDecision(leaves=True, reason=f"{depth.in_flight} in flight, with workers that live")
    return DrainDecision(leaves=True, reason="nothing visible, in flight or delayed")


class DrainProtocol:
    """Takes one worker out of service when its rule says so and the queue has no work.

    Args:
        worker: The worker.
        rule: Decides when it has been idle for long enough.
        depth: Returns the counts of the input queue.
        announce: Tells the controller; when it returns, the controller can see the new state.
        leave: Ends the process or the instance. It returns, and is called again if it raises.
        clock: The time; only durations count.
        limits: The times of the protocol.
    """

    def __init__(
        self,
        worker: DrainingWorker,
        rule: IdleRule,
        *,
        depth: Callable[[], Depth],
        announce: Callable[[Announced], None],
        leave: Callable[[], None],
        clock: Clock,
        limits: DrainLimits,
    ) -> None:
        self._worker = worker
        self._rule = rule
        self._depth = depth
        self._announce = announce
        self._leave = leave
        self._clock = clock
        self._limits = limits
        self.state = DrainState.SERVING
        self._announced: Announced | None = None
        self._is_interrupted = False
        self._empty_since_s = 0.0
        self._retry_at_s: float | None = None
        self._put_off_since_s: float | None = None
        self._needs_check = True

    def interrupt(self) -> None:
        """Hand back at once what is not begun, and leave without a check, as on a spot notice.

        The controller learns of the interruption from EC2. Any thread may call this.
        """
        if not self._is_interrupted:
            log_event(_log, logging.WARNING, "drain.interrupted", "handing back what is not begun")
        self._is_interrupted = True
        self._worker.pause()
        self._worker.drain()

    def tick(self) -> float:
        """Take one step; return the seconds until the next pass.

        Raises:
            BackendError: The announcement or the check failed. The worker serves on, and the next pass tries
                again; only an interrupted worker leaves unannounced.
        """
        if self.state is DrainState.LEFT:
            return _TICK_S
        if self._is_interrupted:
            return self._leave_now()
        if self.state is DrainState.SERVING:
            return self._serve()
        if self.state is DrainState.ANNOUNCED:
            return self._empty()
        return self._check()

    def _serve(self) -> float:
        self._tell("in_service")
        now_s = self._clock.now_s()
        idle_since_s = self._worker.idle_since_s
        if idle_since_s is None:
            self._put_off_since_s = self._retry_at_s = None
            return self._limits.look_every_s
        if self._put_off_since_s is not None and idle_since_s > self._put_off_since_s:
            self._put_off_since_s = None
        if self._retry_at_s is not None and now_s < self._retry_at_s:
            return self._limits.look_every_s
        decision = self._rule.decide(now_s - idle_since_s)
        if not decision.leaves:
            return self._limits.look_every_s
        self._tell("draining")
        log_event(_log, logging.INFO, "drain.begun", "draining", reason=decision.reason)
        self._worker.pause()
        self._needs_check = decision.needs_check
        self.state = DrainState.ANNOUNCED
        return 0.0

    def _empty(self) -> float:
        if not self._worker.is_paused_and_empty:
            return _EMPTYING_TICK_S
        if not self._needs_check:
            try:
                self._needs_check = self._rule.is_final_check_needed()
            except BackendError:
                self._resume("the other workers cannot be listed")
                raise
        self._empty_since_s = self._clock.now_s()
        self.state = DrainState.CHECKING
        return 0.0

    def _check(self) -> float:
        if not self._needs_check:
            self._go("an older worker serves on")
            return _TICK_S
        # Read before the check, so that a slow check does not count as a later check.
        now_s = self._clock.now_s()
        final_poll = self._worker.final_poll
        if final_poll is FinalPoll.FOUND:
            self._resume("the final poll returned a message")
            return 0.0
        try:
            depth = self._depth()
        except BackendError:
            self._resume("the queue cannot be checked")
            raise
        put_off_s = 0.0 if self._put_off_since_s is None else now_s - self._put_off_since_s
        decision = decision_on(depth, put_off_s=put_off_s, in_flight_s_max=self._limits.in_flight_s_max)
        if not decision.leaves:
            if self._put_off_since_s is None:
                self._put_off_since_s = now_s
            self._resume(decision.reason)
            return 0.0
        left_s = self._empty_since_s + self._limits.lag_s - now_s
        if left_s > 0 and final_poll is None:
            return min(left_s, self._limits.check_every_s)
        self._go(decision.reason)
        return _TICK_S

    def _resume(self, reason: str) -> None:
        # The worker serves before it announces that, because the controller counts on what is announced.
        self._worker.resume()
        self.state = DrainState.SERVING
        self._retry_at_s = self._clock.now_s() + self._limits.retry_s
        log_event(_log, logging.INFO, "drain.resumed", "in service again", reason=reason)

    def _leave_now(self) -> float:
        self._worker.pause()  # once more: a resume may have crossed the interruption
        try:
            self._tell("draining")
        except BackendError as exc:
            log_event(_log, logging.WARNING, "drain.unannounced", exc.message, code=exc.code)
        if not self._worker.is_paused_and_empty:
            return _EMPTYING_TICK_S
        self._go("interrupted")
        return _TICK_S

    def _go(self, reason: str) -> None:
        log_event(_log, logging.INFO, "drain.done", "leaving", reason=reason)
        self._rule.before_exit()
        self._leave()
        self.state = DrainState.LEFT

    def _tell(self, state: Announced) -> None:
        if self._announced != state:
            self._announce(state)
            self._announced = state
