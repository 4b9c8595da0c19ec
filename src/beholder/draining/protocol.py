"""How a worker goes when there is nothing to do: it looks before it leaves, and says so before it looks.

    SERVING → ANNOUNCED → CHECKING → LEFT
       ▲          │           │
       └──────────┴───────────┘ there is work after all

A message may be sent at any moment, and a controller that sees a worker in service starts none. So the
worker first announces that it drains, and then looks at the queue; a message is sent first, and then the
controller looks at the fleet. What was sent before the announcement, the worker sees; for what was sent after
it, the controller sees no worker that it could count on.

The counts of a queue lag, and a poll does not: one that begins after the announcement, waits, and brings
nothing says that nothing visible is there from before it. What it brings is worked on, and the worker
serves on. A worker whose queue has exact counts makes no such poll. One that could make none waits until the
counts must tell of everything from before the announcement. Source: Amazon SQS Developer Guide, "Short and
long polling", 2026-11: a long poll asks all servers of the queue, a short one a part of them.

What is in flight counts too: if its holder dies, the message becomes visible after we would have gone.

A worker that finds an older one in service after it has announced itself need not look: what it would find,
the older one serves, and the older one in turn announces, and then looks at others or at the queue. The
announcement comes first here too. Of two that each take the other for older, the one that announces second
finds the first draining, so that not both go unlooked.

`tests/property/test_leaving_model.py` walks through the interleavings.
"""

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.queue.port import Depth
from beholder.telemetry.log import get_logger, log_event

__all__ = [
    "Announced",
    "DrainLimits",
    "DrainProtocol",
    "DrainState",
    "DrainingWorker",
    "FinalPoll",
    "IdleRule",
    "Verdict",
    "idle_for",
    "verdict_on",
]

_log = get_logger(__name__)

_TICK_S = 1.0
# While the worker empties its hands; a drain is short.
_EMPTYING_TICK_S = 0.1

Announced = Literal["in_service", "draining"]


class DrainState(enum.Enum):
    """Where a worker stands on its way out."""

    SERVING = "serving"
    ANNOUNCED = "announced"
    CHECKING = "checking"
    LEFT = "left"


class FinalPoll(enum.Enum):
    """What a poll brought that began after the announcement, in a worker that is paused."""

    EMPTY = "empty"
    FOUND = "found"


class DrainingWorker(Protocol):
    """What the protocol needs of a worker; every member may be used from any thread, and never blocks."""

    def pause(self) -> None:
        """Receive nothing more, but for a final poll; what a receive still brings is worked on.

        A second call does nothing.
        """
        ...

    def resume(self) -> None:
        """Receive again."""
        ...

    def drain(self) -> None:
        """Hand back what is in hand and not begun, for good; a second call does nothing."""
        ...

    @property
    def is_paused_and_empty(self) -> bool:
        """Say whether it is paused, no receive is under way any more or to come, and nothing is in hand."""
        ...

    @property
    def final_poll(self) -> FinalPoll | None:
        """What a poll brought that began or ended after the pause; None where there was none."""
        ...

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has had no message, by the protocol's clock; None while it has one."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to leave, and why or why not.

    Args:
        leaves: Whether to leave.
        reason: In words.
        needs_look: Whether the queue must be looked at after the announcement whatever others do. False only
            lets the protocol ask for others that serve on, after the announcement.
    """

    leaves: bool
    reason: str
    needs_look: bool = True


IdleRule = Callable[[float], Verdict]
"""From the seconds without a message to whether that is long enough."""


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """The times of the protocol, all in seconds.

    Args:
        lag_s: More than the counts of the queue lag behind; where no final poll was made, the last look comes
            this long after the worker was empty. Where counts are exact: 0.
            Source: SQS API reference, GetQueueAttributes, 2026-10: counts "may not achieve consistency until
            at least 1 minute after the producers stop sending".
        look_again_s: Between two looks; a message that comes meanwhile waits as long at most.
        retry_s: In service between two attempts.
        in_flight_s_max: How long messages that others hold can put the leaving off, while nothing comes to
            us; longer than the visibility timeout, within which what a dead worker held comes back to us.
    """

    lag_s: float = 65.0
    look_again_s: float = 5.0
    retry_s: float = 15.0
    in_flight_s_max: float = 120.0


def idle_for(idle_s_max: float | None) -> IdleRule:
    """Return the rule that a worker goes after so many seconds without a message; 0 or None for never."""

    def rule(idle_s: float) -> Verdict:
        if not idle_s_max:
            return Verdict(leaves=False, reason="workers stay")
        leaves = idle_s >= idle_s_max
        return Verdict(leaves, f"idle for {idle_s:.0f} s of {idle_s_max:.0f} s")

    return rule


def verdict_on(depth: Depth, *, put_off_s: float, in_flight_s_max: float) -> Verdict:
    """Decide by a look at the queue whether a worker with empty hands can go.

    Args:
        depth: What the queue says.
        put_off_s: How long messages in flight alone have put it off.
        in_flight_s_max: How long they can.
    """
    if depth.backlog or depth.delayed:
        return Verdict(leaves=False, reason=f"{depth.backlog} visible, {depth.delayed} delayed")
    if depth.in_flight and put_off_s < in_flight_s_max:
        return Verdict(leaves=False, reason=f"{depth.in_flight} in flight elsewhere")
    if depth.in_flight:
        # Others hold them and live: what a dead one held would have come back to us in this time.
        return Verdict(leaves=True, reason=f"{depth.in_flight} in flight, with others that live")
    return Verdict(leaves=True, reason="nothing visible, in flight or delayed")


class DrainProtocol:
    """Takes one worker out of service when its rule says so and the queue agrees.

    Args:
        worker: The worker.
        rule: Says when it has been idle for long enough.
        depth: Looks at the input queue, such as `Queue.depth`.
        announce: Tells the controller 'in_service' or 'draining'; when it returns, the controller can see it.
        leave: Ends the process or the instance; it returns, and may be called again if it raised.
        clock: The time; only durations count.
        limits: The times of the protocol.
        is_last_look_needed: Asked after the announcement, and has to look anew at the others: False where an
            older one is in service, does not drain, and gave its heartbeat not long ago.
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
        is_last_look_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._worker = worker
        self._rule = rule
        self._depth = depth
        self._announce = announce
        self._leave = leave
        self._clock = clock
        self._limits = limits
        self._is_last_look_needed = is_last_look_needed
        self._state = DrainState.SERVING
        self._announced: Announced | None = None
        self._is_interrupted = False
        self._empty_since_s = 0.0
        self._retry_at_s: float | None = None
        self._put_off_since_s: float | None = None
        self._needs_look = True

    @property
    def state(self) -> DrainState:
        """Where the worker stands on its way out."""
        return self._state

    def interrupted(self) -> None:
        """Leave for good and without a look, as on a spot notice: what is in hand is handed back now.

        Whoever takes the instance away knows, so the controller does; safe in any thread.
        """
        if not self._is_interrupted:
            log_event(_log, logging.WARNING, "drain.interrupted", "handing back what is not begun")
        self._is_interrupted = True
        self._worker.pause()
        self._worker.drain()

    def tick(self) -> float:
        """Go one step; returns the seconds until the next pass.

        Raises:
            BackendError: The announcement or the look failed. The worker serves on, and the next pass tries
                again; only one that is interrupted goes unannounced.
        """
        if self._state is DrainState.LEFT:
            return _TICK_S
        if self._is_interrupted:
            return self._go_now()
        if self._state is DrainState.SERVING:
            return self._serve()
        if self._state is DrainState.ANNOUNCED:
            return self._empty()
        return self._check()

    def _serve(self) -> float:
        self._tell("in_service")
        now_s = self._clock.now_s()
        idle_since_s = self._worker.idle_since_s
        if idle_since_s is None:
            self._put_off_since_s = self._retry_at_s = None
            return _TICK_S
        if self._put_off_since_s is not None and idle_since_s > self._put_off_since_s:
            self._put_off_since_s = None
        if self._retry_at_s is not None and now_s < self._retry_at_s:
            return _TICK_S
        verdict = self._rule(now_s - idle_since_s)
        if not verdict.leaves:
            return _TICK_S
        self._tell("draining")
        log_event(_log, logging.INFO, "drain.begun", "draining", reason=verdict.reason)
        self._worker.pause()
        self._needs_look = verdict.needs_look
        self._state = DrainState.ANNOUNCED
        return 0.0

    def _empty(self) -> float:
        if not self._worker.is_paused_and_empty:
            return _EMPTYING_TICK_S
        if not self._needs_look:
            try:
                self._needs_look = self._is_last_look_needed()
            except BackendError:
                self._return("the others cannot be looked for")
                raise
        self._empty_since_s = self._clock.now_s()
        self._state = DrainState.CHECKING
        return 0.0

    def _check(self) -> float:
        if not self._needs_look:
            self._go("an older worker serves on")
            return _TICK_S
        # The time before the look: a look that takes long is no later look.
        now_s = self._clock.now_s()
        final_poll = self._worker.final_poll
        if final_poll is FinalPoll.FOUND:
            self._return("its last poll brought a message")
            return 0.0
        try:
            depth = self._depth()
        except BackendError:
            self._return("the queue cannot be looked at")
            raise
        put_off_s = 0.0 if self._put_off_since_s is None else now_s - self._put_off_since_s
        verdict = verdict_on(depth, put_off_s=put_off_s, in_flight_s_max=self._limits.in_flight_s_max)
        if not verdict.leaves:
            if self._put_off_since_s is None:
                self._put_off_since_s = now_s
            self._return(verdict.reason)
            return 0.0
        left_s = self._empty_since_s + self._limits.lag_s - now_s
        if left_s > 0 and final_poll is None:
            return min(left_s, self._limits.look_again_s)
        self._go(verdict.reason)
        return _TICK_S

    def _return(self, reason: str) -> None:
        # First it serves, then it says so: one that said so and did not would be counted on.
        self._worker.resume()
        self._state = DrainState.SERVING
        self._retry_at_s = self._clock.now_s() + self._limits.retry_s
        log_event(_log, logging.INFO, "drain.resumed", "in service again", reason=reason)

    def _go_now(self) -> float:
        self._worker.pause()  # once more: a return may have crossed the notice
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
        self._leave()
        self._state = DrainState.LEFT

    def _tell(self, state: Announced) -> None:
        if self._announced != state:
            self._announce(state)
            self._announced = state
