"""A transport that joins the writes of an answer, and closes late enough for the client to read it."""

import asyncio
from collections.abc import Callable
from typing import Any

from beholder.web.limits import WebLimits

__all__ = ["LingeringTransport"]


class LingeringTransport:
    """Closes a connection in two steps if the client may still send.

    Closing a socket that has unread bytes resets the connection, and the client then loses the answer.
    So the transport first shuts its sending side, and discards what the client sends until the client closes
    or its time is up. The answer is lost if the client has not read it by then.

    Args:
        transport: The wrapped transport; it does everything but closing.
        limits: How long the transport waits, and how many bytes it discards.
        may_send: Returns whether the client may still send.
    """

    def __init__(self, transport: asyncio.Transport, limits: WebLimits, may_send: Callable[[], bool]) -> None:
        self._transport = transport
        self._limits = limits
        self._may_send = may_send
        self._timer: asyncio.TimerHandle | None = None
        self._dropped_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._unwritten: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Return the wrapped transport's attribute."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write with what else this turn of the loop writes: uvicorn writes head and body apart."""
        self._unwritten.append(data)
        if len(self._unwritten) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._unwritten:
            self._transport.write(b"".join(self._unwritten))
            self._unwritten.clear()

    def close(self) -> None:
        """Close once the client has the answer, or its time is up."""
        if self.is_closing():
            return
        self._flush()
        if not self._may_send() and not self._transport.get_write_buffer_size():
            self._transport.close()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.linger_s_max, self._transport.abort)
        self._transport.resume_reading()
        self._transport.write_eof()

    def is_closing(self) -> bool:
        """Return whether nothing may be written any more."""
        return self._timer is not None or self._transport.is_closing()

    def count_dropped(self, count: int) -> None:
        """Count bytes that the caller discards; beyond the bound no more are read."""
        self._dropped_bytes += count
        if self._dropped_bytes > self._limits.linger_bytes_max:
            self._transport.pause_reading()

    def stop_lingering(self) -> None:
        """Close now if the transport only waits for the client to close."""
        if self._timer:
            self._transport.abort()

    def cancel_timer(self) -> None:
        """Cancel the time-out of a connection that has closed."""
        if self._timer:
            self._timer.cancel()
