"""The open connections of one web process: how many there may be, and which is closed for another."""

import asyncio
import logging
from typing import Protocol

from beholder.telemetry.log import log_event

__all__ = ["Connection", "Connections"]

_log = logging.getLogger(__name__)

_LOG_EVERY_S = 10.0
# Refused connections that stay open until their clients have read the refusal.
_REFUSED_OPEN_MAX = 8


class Connection(Protocol):
    """A connection that can be closed to make room."""

    def shed(self) -> None:
        """Close the connection; it waits for its client."""
        ...


class Connections:
    """Counts the connections of a process by what they wait for; used from one event loop only.

    Args:
        count_max: How many may be open.
        transfer_s_min: At that bound: how long a client may take to send a body or to read an answer.
    """

    def __init__(self, count_max: int, transfer_s_min: float) -> None:
        self._count_max = count_max
        self._transfer_s_min = transfer_s_min
        self._open: set[Connection] = set()
        self._refused_open: set[Connection] = set()
        # Those that wait for a request, for the rest of its head, or for their client to close; oldest first.
        self._idle: dict[Connection, None] = {}
        # Those whose client has to send a body or to read an answer, and since when; oldest first.
        self._transfers: dict[Connection, float] = {}
        self._shed = 0
        self._refused = 0
        self._logged_at_s: float | None = None

    def add(self, connection: Connection) -> bool:
        """Add a new connection, which is idle; return False if it must be refused.

        At the bound the connection that has been idle longest is closed. If none is idle, the connection is
        closed whose client has taken longest to send a body or to read an answer. If the service works for
        every connection, the new one is refused.
        """
        if len(self._open) >= self._count_max and not self._make_room():
            self._refused_open.add(connection)
            return False
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has closed."""
        self._open.discard(connection)
        self._refused_open.discard(connection)
        self.set_working(connection)

    def set_idle(self, connection: Connection) -> None:
        """Note that the connection has no request under way."""
        self.set_working(connection)
        if connection in self._open:
            self._idle[connection] = None

    def set_transferring(self, connection: Connection) -> None:
        """Note that a request is under way and waits for its client."""
        self._idle.pop(connection, None)
        if connection in self._open:
            self._transfers.setdefault(connection, asyncio.get_running_loop().time())

    def set_working(self, connection: Connection) -> None:
        """Note that a request is under way and waits for the service."""
        self._idle.pop(connection, None)
        self._transfers.pop(connection, None)

    @property
    def may_linger(self) -> bool:
        """Whether a refused connection may stay open until its client has read the refusal."""
        return len(self._refused_open) <= _REFUSED_OPEN_MAX

    def _make_room(self) -> bool:
        oldest = next(iter(self._idle), None) or self._slowest()
        if oldest is None:
            self._refused += 1
        else:
            self._shed += 1
            self.remove(oldest)
            oldest.shed()
        self._log_full()
        return oldest is not None

    def _slowest(self) -> Connection | None:
        oldest, since_s = next(iter(self._transfers.items()), (None, 0.0))
        is_late = asyncio.get_running_loop().time() - since_s >= self._transfer_s_min
        return oldest if is_late else None

    def _log_full(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._logged_at_s is not None and now_s - self._logged_at_s < _LOG_EVERY_S:
            return
        self._logged_at_s = now_s
        log_event(
            _log,
            logging.WARNING,
            "web.connections_full",
            "as many connections are open as this process takes; idle and slow ones are closed for new ones",
            connections_max=self._count_max,
            closed=self._shed,
            refused=self._refused,
        )
        self._shed = self._refused = 0
