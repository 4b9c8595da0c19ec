"""What a worker tells of itself while it lives, and how long it stays without work.

Both run beside the consumers, in threads of their own: a long batch silences no sign.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from beholder.clock import Clock, age_s
from beholder.draining.gaps import IdleGaps
from beholder.draining.idle import (
    BusyShare,
    IdleLimit,
    IdleSettings,
    Seniority,
    idle_limit_s,
    is_last_look_needed,
)
from beholder.draining.protocol import Announced, Verdict
from beholder.draining.work import WorkDone
from beholder.errors import BackendError
from beholder.scaling.heartbeats import Heartbeat
from beholder.scaling.observation import InstanceState
from beholder.telemetry.log import get_logger, log_event

__all__ = ["HeartbeatWriter", "IdleGapNotes", "IdleMonitor", "seniority_of"]

_log = get_logger(__name__)

_TICK_S = 1.0
# A peer that has been silent for longer is gone.
_PEER_SILENCE_S = 180.0
_PEERS_FRESH_S = 2.0
# From the last question to the end: the rest of a long poll, the final poll, and a slow machine.
_ASKED_S_MAX = 60.0
_SERVING = (InstanceState.READY, InstanceState.BUSY, InstanceState.IDLE)


class HeartbeatWriter:
    """Gives a worker's heartbeats: at once when it is ready or drains, else now and then.

    Args:
        give: Stores a sign; when it returns, the controller can see it.
        idle_since_s: Since when the worker has had no message; None while it has one.
        clock: The time; only durations count.
        every_s: A sign is given after this time though nothing changed.
        flip_s: Between two signs that only tell busy from idle; each is a PUT.
    """

    def __init__(
        self,
        give: Callable[[InstanceState], None],
        idle_since_s: Callable[[], float | None],
        clock: Clock,
        *,
        every_s: float = 60.0,
        flip_s: float = 30.0,
    ) -> None:
        self._give = give
        self._idle_since_s = idle_since_s
        self._clock = clock
        self._every_s = every_s
        self._flip_s = flip_s
        # A sign that is under way must not overtake the announcement that follows it.
        self._lock = threading.Lock()
        self._given: InstanceState | None = None
        self._given_at_s = 0.0
        self._is_draining = False

    def announce(self, announced: Announced) -> None:
        """Tell the controller; when this returns, it can see it.

        Raises:
            BackendError: It could not be told, and the last sign stands.
        """
        with self._lock:
            is_draining = announced == "draining"
            if self._given is None or is_draining != self._is_draining:
                self._give_now(self._state(is_draining=is_draining))
            self._is_draining = is_draining

    def tick(self) -> float:
        """Give a sign if one is due; returns the seconds until the next pass.

        Raises:
            BackendError: It could not be given; the next pass tries again.
        """
        with self._lock:
            state = self._state(is_draining=self._is_draining)
            passed_s = self._clock.now_s() - self._given_at_s
            is_due = passed_s >= (self._every_s if state is self._given else min(self._flip_s, self._every_s))
            if self._given is None or is_due:
                self._give_now(state)
        return _TICK_S

    def end(self) -> None:
        """Say that the worker ends, as far as that can be said.

        The sign stays: one that is gone would tell of an instance that boots, until the fleet no longer shows
        it. The controller takes it away later.
        """
        with suppress(BackendError):
            self.announce("draining")

    def _state(self, *, is_draining: bool) -> InstanceState:
        if is_draining:
            return InstanceState.DRAINING
        if self._given is None:
            return InstanceState.READY
        return InstanceState.BUSY if self._idle_since_s() is None else InstanceState.IDLE

    def _give_now(self, state: InstanceState) -> None:
        self._give(state)
        self._given, self._given_at_s = state, self._clock.now_s()


def seniority_of(heartbeats: dict[str, Heartbeat], name: str, now_s: float) -> Seniority:
    """Return the workers that serve, by their heartbeats.

    All that the rule needs is an order on which all agree, and signs tell no launch times: who has the
    smaller name counts as older. On one machine that is the lower number.

    Args:
        heartbeats: As `scaling.signs.read_heartbeats` returns them.
        name: Of this worker; it serves whatever its sign says.
        now_s: By the store's clock.
    """
    serving = {
        one
        for one, heartbeat in heartbeats.items()
        if heartbeat.state in _SERVING and age_s(now_s, heartbeat.at_s) < _PEER_SILENCE_S and one != name
    }
    older = sum((len(one), one) < (len(name), name) for one in serving)
    return Seniority(count=len(serving) + 1, older=older)


@dataclass(frozen=True)
class IdleGapNotes:
    """Where a worker learns of earlier idle gaps, and leaves what it knows.

    Args:
        read: Returns what the last one that left wrote down; `draining.gaps.read_idle_gaps`.
        write: Keeps it for the next; `draining.gaps.write_idle_gaps`.
        now_s: The time by which messages are stamped, seconds since the Unix epoch.
    """

    read: Callable[[], IdleGaps]
    write: Callable[[IdleGaps], None]
    now_s: Callable[[], float]


class IdleMonitor:
    """An `IdleRule`: how long this worker stays without work, by `scaling.idle` or for a fixed time.

    Args:
        settings: What the rule needs to know.
        work: What the worker has done.
        peers: Looks for the others; a LIST.
        clock: The worker's; only durations count.
        service_s: Taken for the time per message until the worker has done some.
        share: Taken for the busy share at the start; 1 lets a worker that was launched for a burst stay a
            while after it.
        fixed_s: Stay so long, 0 for ever, whatever the load was; None for the rule.
        peers_every_s: Between two looks for the others while the worker has not been idle for long.
        notes: Of idle gaps; None where it learns nothing.
    """

    def __init__(
        self,
        settings: IdleSettings,
        *,
        work: Callable[[], WorkDone],
        peers: Callable[[], Seniority],
        clock: Clock,
        service_s: float,
        share: float = 0.0,
        fixed_s: float | None = None,
        peers_every_s: float = 30.0,
        notes: IdleGapNotes | None = None,
    ) -> None:
        self._settings = settings
        self._work = work
        self._look_for_peers = peers
        self._clock = clock
        self._service_s = service_s
        self._fixed_s = fixed_s
        self._peers_every_s = peers_every_s
        self._done = WorkDone()
        self._busy = self._busy_at_rest = BusyShare(share, clock.now_s())
        self._rest_since_s = -inf
        self._peers = Seniority()
        self._peers_at_s = -inf
        self._notes = notes
        self._idle_gaps: IdleGaps | None = None
        self._at_rest = WorkDone()
        self._rest_s = 0.0
        self._asked_at_s = -inf

    def __call__(self, idle_s: float) -> Verdict:
        """Say whether to leave after so many seconds without a message.

        Raises:
            BackendError: The others cannot be looked for.
        """
        now_s = self._clock.now_s()
        self._learn(now_s)
        if now_s - idle_s > self._rest_since_s + 1e-6:
            self._learn_idle_gap()
            self._rest_since_s, self._busy_at_rest = now_s - idle_s, self._busy
            self._see_peers(now_s, self._peers_every_s)
        self._rest_s, self._asked_at_s = idle_s, now_s
        limit = self._limit()
        if idle_s >= limit.seconds and self._see_peers(now_s, _PEERS_FRESH_S):
            limit = self._limit()
        return Verdict(
            idle_s >= limit.seconds,
            f"idle for {idle_s:.0f} s; {limit.reason}",
            needs_look=is_last_look_needed(self._peers),
        )

    def is_last_look_needed(self) -> bool:
        """Look anew for the others, after the announcement, and say whether the queue must be looked at too.

        Raises:
            BackendError: The others cannot be looked for.
        """
        self._see_peers(self._clock.now_s(), -inf)
        return is_last_look_needed(self._peers)

    def leaves(self) -> None:
        """Write down what was learnt, for whoever comes next; only the last one knows how long idle gaps are.

        One that is taken away in the middle of its work does not know since when there is none.
        """
        now_s = self._clock.now_s()
        if self._notes is None or self._idle_gaps is None or self._peers.count > 1:
            return
        if now_s - self._asked_at_s <= _ASKED_S_MAX:
            self._write(self._idle_gaps.left(self._notes.now_s() - (now_s - self._rest_since_s)))

    def _learn_idle_gap(self) -> None:
        """Learn how long the rest was that ended, as far as it was asked for."""
        if self._notes is None or self._fixed_s is not None:
            return
        if self._idle_gaps is None:
            self._idle_gaps = self._notes.read()
        before, self._at_rest = self._at_rest, self._done
        if self._done.messages == before.messages:
            return
        if before.messages:
            self._idle_gaps = self._idle_gaps.after_rest(self._rest_s, self._peers.count)
        elif self._done.first_sent_at_s is not None and self._idle_gaps.idle_since_s is not None:
            self._idle_gaps = self._idle_gaps.after_first(self._done.first_sent_at_s)
            self._write(self._idle_gaps)

    def _write(self, idle_gaps: IdleGaps) -> None:
        if self._notes is None:
            return
        try:
            self._notes.write(idle_gaps)
        except BackendError as exc:
            log_event(_log, logging.WARNING, "drain.idle_gaps", exc.message, code=exc.code)

    def _learn(self, now_s: float) -> None:
        """Bring the busy share up to date: since the last call a part of the time was busy."""
        work, before = self._work(), self._busy
        over_s = now_s - before.at_s
        part = min(1.0, max(0.0, work.busy_s - self._done.busy_s) / over_s) if over_s > 0 else 0.0
        tau_s = self._settings.tau_s
        busy, idle = (before.after(now_s, tau_s, is_busy=is_busy).share for is_busy in (True, False))
        self._busy = BusyShare(part * busy + (1.0 - part) * idle, now_s)
        self._done = work
        if work.messages:
            self._service_s = work.busy_s / work.messages

    def _see_peers(self, now_s: float, age_s_max: float) -> bool:
        if now_s - self._peers_at_s <= age_s_max:
            return False
        self._peers, self._peers_at_s = self._look_for_peers(), now_s
        return True

    def _limit(self) -> IdleLimit:
        if self._fixed_s is None:
            idle_gaps = self._idle_gaps or IdleGaps()
            return idle_limit_s(
                self._settings,
                self._busy_at_rest,
                self._peers,
                service_s=self._service_s,
                idle_gaps=idle_gaps,
            )
        if self._fixed_s == 0:
            return IdleLimit(inf, "workers stay")
        if self._peers.older < self._settings.stay_min:
            return IdleLimit(inf, f"one of the {self._settings.stay_min} oldest, which stay")
        return IdleLimit(self._fixed_s, f"{self._fixed_s:.0f} s are allowed")
