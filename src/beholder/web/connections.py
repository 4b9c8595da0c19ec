"""The open connections of one web process: how many there may be, and which one makes room for another."""

import asyncio
import logging
from typing import Protocol

from beholder.telemetry.log import get_logger, say

__all__ = ["Connection", "Connections"]

_log = get_logger(__name__)

_LOG_EVERY_S = 10.0
# Refused connections that may be open meanwhile, so that their clients can read why.
_REFUSED_OPEN_MAX = 8


class Connection(Protocol):
    """A connection that can be closed to make room."""

    def shed(self) -> None:
        """Close it; no request is under way on it."""
        ...


class Connections:
    """Counts connections; used from one event loop only.

    Args:
        count_max: The bound.
    """

    def __init__(self, count_max: int) -> None:
        """Begin without any."""
        self._count_max = count_max
        self._open = 0
        # Oldest first; those that wait for a request or for the rest of its head.
        self._idle: dict[Connection, None] = {}
        self._shed = 0
        self._refused = 0
        self._logged_at_s: float | None = None

    def enter(self, connection: Connection) -> bool:
        """Count a new connection, which is idle; False where it must be refused.

        Beyond the bound the connection that is idle for longest is closed. Where a request is under way on
        each of them, the new one is refused.
        """
        self._open += 1
        is_welcome = True
        if self._open > self._count_max:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                is_welcome = False
                self._refused += 1
            else:
                del self._idle[oldest]
                self._shed += 1
                oldest.shed()
            self._tell()
        if is_welcome:
            self._idle[connection] = None
        return is_welcome

    def leave(self, connection: Connection) -> None:
        """Count no more a connection that is closed."""
        self._open -= 1
        self._idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """Note that no request is under way on a connection from now on."""
        self._idle[connection] = None

    def work(self, connection: Connection) -> None:
        """Note that a request is under way."""
        self._idle.pop(connection, None)

    @property
    def may_linger(self) -> bool:
        """Whether there is room for a refused connection until its client has read why."""
        return self._open <= self._count_max + _REFUSED_OPEN_MAX

    def _tell(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._logged_at_s is not None and now_s - self._logged_at_s < _LOG_EVERY_S:
            return
        self._logged_at_s = now_s
        say(
            _log,
            logging.WARNING,
            "web.connections_full",
            "as many connections are open as this process takes; idle ones are closed for new ones",
            connections_max=self._count_max,
            closed=self._shed,
            refused=self._refused,
        )
        self._shed = self._refused = 0
