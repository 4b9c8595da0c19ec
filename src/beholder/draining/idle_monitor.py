"""The idle rule of a worker in a fleet: it observes the worker and its peers, and learns the idle gaps."""

import logging
from collections.abc import Callable
from dataclasses import replace
from math import inf

from beholder.clock import Clock, age_s
from beholder.draining.idle_gaps import IdleGaps, read_idle_gaps, write_idle_gaps
from beholder.draining.idle_limit import (
    BUSY_SHARE_AT_START,
    STARTUP_EVERY_S,
    BusyShare,
    IdleLimit,
    IdleSettings,
    Seniority,
    idle_limit_s,
    is_final_check_needed,
)
from beholder.draining.protocol import DrainDecision
from beholder.draining.work import WorkDone
from beholder.errors import BackendError
from beholder.scaling.heartbeats import Heartbeat
from beholder.scaling.policy.observation import InstanceState
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["IdleMonitor", "seniority_of"]

_log = logging.getLogger(__name__)

# A peer that has been silent for longer is gone.
_PEER_SILENCE_S = 180.0
_PEERS_FRESH_S = 2.0
# From the last decision to the exit: the rest of a long poll, the final poll, and a slow machine.
_DECIDED_S_MAX = 60.0


def seniority_of(heartbeats: dict[str, Heartbeat], name: str, now_s: float) -> Seniority:
    """Return the workers that serve, by their heartbeats.

    The rule needs an order on which all workers agree, and heartbeats hold no launch times: the smaller name
    counts as older. On one machine, that is the lower number.

    Args:
        heartbeats: As `scaling.heartbeats.read_heartbeats` returns them.
        name: Of this worker; it counts as serving whatever its heartbeat says.
        now_s: By the store's clock.
    """
    serving = {
        peer
        for peer, heartbeat in heartbeats.items()
        if heartbeat.state is InstanceState.IN_SERVICE
        and age_s(now_s, heartbeat.at_s) < _PEER_SILENCE_S
        and peer != name
    }
    older = sum((len(peer), peer) < (len(name), name) for peer in serving)
    return Seniority(count=len(serving) + 1, older=older)


class IdleMonitor:
    """An `IdleRule`: how long this worker stays without work, by `draining.idle_limit`.

    Args:
        settings: What the rule needs to know.
        work: Returns what the worker has done.
        peers: Lists the workers that serve; a LIST.
        clock: The worker's; only durations count.
        store: The output bucket, where the idle gaps are kept.
        wall_clock: The time by which messages are stamped.
        service_s: The time per message until the worker has processed messages.
        peers_every_s: Between two looks at the other workers while this worker has not been idle for long.
        startup_s: Returns the startup time that the controller has learnt; None where that is not known.
    """

    def __init__(
        self,
        settings: IdleSettings,
        *,
        work: Callable[[], WorkDone],
        peers: Callable[[], Seniority],
        clock: Clock,
        store: Store,
        wall_clock: Clock,
        service_s: float,
        peers_every_s: float,
        startup_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._read_startup_s = startup_s
        self._startup_at_s = -inf
        self._began_at_s = clock.now_s()
        self._work = work
        self._list_peers = peers
        self._clock = clock
        self._store = store
        self._wall_clock = wall_clock
        self._service_s = service_s
        self._peers_every_s = peers_every_s
        self._done = WorkDone()
        self._busy = self._busy_at_rest = BusyShare(BUSY_SHARE_AT_START, clock.now_s())
        self._rest_since_s = -inf
        self._peers = Seniority()
        self._peers_at_s = -inf
        self._idle_gaps: IdleGaps | None = None
        self._done_at_rest = WorkDone()
        self._rest_s = 0.0
        self._decided_at_s = -inf

    def decide(self, idle_s: float) -> DrainDecision:
        """Decide whether to leave after so many seconds without a message.

        Raises:
            BackendError: The other workers cannot be listed.
        """
        now_s = self._clock.now_s()
        self._update_busy_share(now_s)
        if now_s - idle_s > self._rest_since_s + 1e-6:
            self._learn_idle_gap()
            self._refresh_startup(now_s)
            self._rest_since_s, self._busy_at_rest = now_s - idle_s, self._busy
            self._refresh_peers(now_s, self._peers_every_s)
        self._rest_s, self._decided_at_s = idle_s, now_s
        limit = self._limit()
        if idle_s >= limit.seconds and self._refresh_peers(now_s, _PEERS_FRESH_S):
            limit = self._limit()
        return DrainDecision(
            idle_s >= limit.seconds,
            f"idle for {idle_s:.0f} s; {limit.reason}",
            needs_check=is_final_check_needed(self._peers),
        )

    def is_final_check_needed(self) -> bool:
        """List the other workers anew, after the announcement, and say whether to check the queue.

        Raises:
            BackendError: The other workers cannot be listed.
        """
        self._refresh_peers(self._clock.now_s(), -inf)
        return is_final_check_needed(self._peers)

    def before_exit(self) -> None:
        """Store what this worker has learnt, for the successor, if this worker is the last.

        Only the last worker knows the idle gaps of the fleet. A worker that is interrupted in the middle of
        its work does not know when the fleet will fall idle.
        """
        now_s = self._clock.now_s()
        is_last = self._peers.count == 1 and now_s - self._decided_at_s <= _DECIDED_S_MAX
        if self._idle_gaps is not None and is_last:
            rest_s = now_s - self._rest_since_s
            self._write(self._idle_gaps.left(self._wall_clock.now_s() - rest_s))

    def _learn_idle_gap(self) -> None:
        """Learn the length of the rest that ended, as of the last decision in it."""
        if self._settings.idle_s_max is not None:
            return
        if self._idle_gaps is None:
            self._idle_gaps = read_idle_gaps(self._store)
        before, self._done_at_rest = self._done_at_rest, self._done
        if self._done.messages == before.messages:
            return
        if before.messages:
            self._idle_gaps = self._idle_gaps.after_rest(self._rest_s, self._peers.count)
        elif self._done.first_sent_at_s is not None and self._idle_gaps.idle_since_s is not None:
            self._idle_gaps = self._idle_gaps.after_first(self._done.first_sent_at_s)
            self._write(self._idle_gaps)

    def _write(self, idle_gaps: IdleGaps) -> None:
        try:
            write_idle_gaps(self._store, idle_gaps)
        except BackendError as exc:
            log_event(_log, logging.WARNING, "drain.idle_gaps", exc.message, code=exc.code)

    def _update_busy_share(self, now_s: float) -> None:
        """Update the busy share by the part of the time since the last call that was busy."""
        work, before = self._work(), self._busy
        over_s = now_s - before.at_s
        part = min(1.0, max(0.0, work.busy_s - self._done.busy_s) / over_s) if over_s > 0 else 0.0
        tau_s = self._settings.tau_s
        busy, idle = (before.after(now_s, tau_s, is_busy=is_busy).share for is_busy in (True, False))
        self._busy = BusyShare(part * busy + (1.0 - part) * idle, now_s)
        self._done = work
        if work.messages:
            self._service_s = work.busy_s / work.messages

    def _refresh_startup(self, now_s: float) -> None:
        if now_s - self._startup_at_s <= STARTUP_EVERY_S:
            return
        self._startup_at_s = now_s
        startup_s = self._read_startup_s()
        if startup_s is not None:
            self._settings = replace(self._settings, startup_s=startup_s)

    def _refresh_peers(self, now_s: float, age_s_max: float) -> bool:
        if now_s - self._peers_at_s <= age_s_max:
            return False
        self._peers, self._peers_at_s = self._list_peers(), now_s
        return True

    def _limit(self) -> IdleLimit:
        return idle_limit_s(
            self._settings,
            self._busy_at_rest,
            self._peers,
            service_s=self._service_s,
            idle_gaps=self._idle_gaps or IdleGaps(),
            age_s=self._rest_since_s - self._began_at_s + self._settings.startup_s,
        )
