"""The heartbeats of a worker, from which the controller and the other workers learn its state.

A thread of its own writes them beside the consumers, so that a long batch does not delay them.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from beholder.clock import Clock
from beholder.draining.protocol import Announced
from beholder.errors import BackendError
from beholder.scaling.policy.observation import InstanceState

__all__ = ["HeartbeatWriter"]

_TICK_S = 1.0


class HeartbeatWriter:
    """Writes a worker's heartbeats: at once when it is ready or drains, otherwise at intervals.

    Args:
        write: Stores a state, and whether the worker is busy; when it returns, the controller can see it.
        idle_since_s: Since when the worker has had no message; None while it has any.
        clock: The time; only durations count.
        every_s: Between two heartbeats of the same state.
        flip_s: Between two heartbeats that differ only in busy or idle; each costs a PUT. The first that says
            busy is written at once: the controller learns the arrival rate from the busy instances.
    """

    def __init__(
        self,
        write: Callable[[InstanceState, bool], None],
        idle_since_s: Callable[[], float | None],
        clock: Clock,
        *,
        every_s: float,
        flip_s: float,
    ) -> None:
        self._write = write
        self._idle_since_s = idle_since_s
        self._clock = clock
        self._every_s = every_s
        self._flip_s = min(flip_s, every_s)
        # A heartbeat that is being written must not overtake the announcement that follows it.
        self._lock = threading.Lock()
        self._written: tuple[InstanceState, bool] | None = None
        self._written_at_s = 0.0
        self._is_draining = self._was_busy = False

    def announce(self, announced: Announced) -> None:
        """Write the state as a heartbeat; when this returns, the controller can see it.

        Raises:
            BackendError: The heartbeat cannot be stored, and the previous heartbeat stands.
        """
        with self._lock:
            is_draining = announced == "draining"
            if self._written is None or is_draining != self._is_draining:
                self._write_now(self._condition(is_draining=is_draining))
            self._is_draining = is_draining

    def tick(self) -> float:
        """Write a heartbeat if one is due; return the seconds until the next pass.

        Raises:
            BackendError: The heartbeat cannot be stored; the next pass tries again.
        """
        with self._lock:
            condition = self._condition(is_draining=self._is_draining)
            interval_s = self._every_s if condition == self._written else self._flip_s
            if condition[1] and not self._was_busy:
                interval_s = 0.0
            if self._written is None or self._clock.now_s() - self._written_at_s >= interval_s:
                self._write_now(condition)
        return _TICK_S

    def end(self) -> None:
        """Announce the end of the worker, if the store takes it.

        The heartbeat stays in the store: without it the instance would count as starting up until the fleet
        no longer shows it. The controller deletes it later.
        """
        with suppress(BackendError):
            self.announce("draining")

    def _condition(self, *, is_draining: bool) -> tuple[InstanceState, bool]:
        if is_draining:
            return InstanceState.DRAINING, False
        return InstanceState.IN_SERVICE, self._written is not None and self._idle_since_s() is None

    def _write_now(self, condition: tuple[InstanceState, bool]) -> None:
        self._write(*condition)
        self._written, self._written_at_s = condition, self._clock.now_s()
        self._was_busy = self._was_busy or condition[1]
