"""The open connections of one web process: how many there may be, and which one makes room for another."""

import asyncio
import logging
from typing import Protocol

from beholder.telemetry.log import get_logger, log_event

__all__ = ["Connection", "Connections"]

_log = get_logger(__name__)

_LOG_EVERY_S = 10.0
# Refused connections that may be open meanwhile, so that their clients can read why.
_REFUSED_OPEN_MAX = 8


class Connection(Protocol):
    """A connection that can be closed to make room."""

    def shed(self) -> None:
        """Close it; it waits for its client."""
        ...


class Connections:
    """Counts connections; used from one event loop only.

    Args:
        count_max: The bound.
        transfer_s_min: How long a client may take for a body or an answer where the bound is reached.
    """

    def __init__(self, count_max: int, transfer_s_min: float) -> None:
        self._count_max = count_max
        self._transfer_s_min = transfer_s_min
        self._open: set[Connection] = set()
        self._refused_open: set[Connection] = set()
        # Oldest first; those that wait for a request, for the rest of its head, or for their client to end.
        self._idle: dict[Connection, None] = {}
        # Oldest first, with the time since when; those whose client has to send a body or to read an answer.
        self._transfers: dict[Connection, float] = {}
        self._shed = 0
        self._refused = 0
        self._logged_at_s: float | None = None

    def enter(self, connection: Connection) -> bool:
        """Take a new connection, which is idle; False where it must be refused.

        At the bound the connection that is idle for longest is closed; where none is idle, the one whose
        client has taken longest to send a body or to read an answer. Where the service works for all of them,
        the new one is refused.
        """
        if len(self._open) >= self._count_max and not self._make_room():
            self._refused_open.add(connection)
            return False
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        """Count no more a connection that is closed."""
        self._open.discard(connection)
        self._refused_open.discard(connection)
        self.work(connection)

    def rest(self, connection: Connection) -> None:
        """Note that no request is under way on a connection from now on."""
        self.work(connection)
        if connection in self._open:
            self._idle[connection] = None

    def transfer(self, connection: Connection) -> None:
        """Note that a request is under way, and that its client has to go on."""
        self._idle.pop(connection, None)
        if connection in self._open:
            self._transfers.setdefault(connection, asyncio.get_running_loop().time())

    def work(self, connection: Connection) -> None:
        """Note that a request is under way, and that the service has to go on."""
        self._idle.pop(connection, None)
        self._transfers.pop(connection, None)

    @property
    def may_linger(self) -> bool:
        """Whether there is room for a refused connection until its client has read why."""
        return len(self._refused_open) <= _REFUSED_OPEN_MAX

    def _make_room(self) -> bool:
        oldest = next(iter(self._idle), None) or self._slowest()
        if oldest is None:
            self._refused += 1
        else:
            self._shed += 1
            self.leave(oldest)
            oldest.shed()
        self._tell()
        return oldest is not None

    def _slowest(self) -> Connection | None:
        oldest, since_s = next(iter(self._transfers.items()), (None, 0.0))
        is_late = asyncio.get_running_loop().time() - since_s >= self._transfer_s_min
        return oldest if is_late else None

    def _tell(self) -> None:
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
