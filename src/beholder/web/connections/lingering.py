"""A transport that closes late enough for the client to read the answer, and never later than it should."""

import asyncio
from collections.abc import Callable
from typing import Any

from beholder.web.limits import WebLimits

__all__ = ["LingeringTransport"]


class LingeringTransport:
    """Closes in two steps where the client may still send.

    A socket that is closed with unread bytes resets the connection, and the client then loses the answer too.
    So this end is shut first, and what comes is dropped until the client ends or its time is up. What the
    client has not read by then is dropped as well.

    Args:
        transport: What is wrapped; everything but closing goes there.
        limits: How long, and how many bytes.
        may_send: Says whether the client may still send.
    """

    def __init__(self, transport: asyncio.Transport, limits: WebLimits, may_send: Callable[[], bool]) -> None:
        self._transport = transport
        self._limits = limits
        self._may_send = may_send
        self._timer: asyncio.TimerHandle | None = None
        self._dropped_bytes = 0
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        """Return what the wrapped transport has under this name."""
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close as soon as the client has the answer."""
        if self.is_closing():
            return
        if not self._may_send() and not self._transport.get_write_buffer_size():
            self._transport.close()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.linger_s_max, self._transport.abort)
        self._transport.resume_reading()
        self._transport.write_eof()

    def is_closing(self) -> bool:
        """Whether nothing may be written any more."""
        return self._timer is not None or self._transport.is_closing()

    def drop(self, count: int) -> None:
        """Count bytes that are discarded; beyond the bound the client has to wait."""
        self._dropped_bytes += count
        if self._dropped_bytes > self._limits.linger_bytes_max:
            self._transport.pause_reading()

    def hurry(self) -> None:
        """Close now where only the client's end is waited for."""
        if self._timer:
            self._transport.abort()

    def closed(self) -> None:
        """Forget the time-out of a connection that is closed."""
        if self._timer:
            self._timer.cancel()
