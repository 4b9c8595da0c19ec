"""The HTTP server of a web process: uvicorn, with a bound on a request's head and an end that answers all."""

import asyncio
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from beholder.web.app import WebApp

__all__ = ["HEAD_BYTES_MAX", "BoundedProtocol", "Server"]

HEAD_BYTES_MAX = 65_536

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"urn:beholder:problem:head_too_large","title":"Request Header Fields Too Large","status":431,'
    b'"code":"head_too_large","detail":"The request line and headers exceed 65536 bytes; send fewer."}'
)


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that does not end: the parser would keep it all, and search it at each packet."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Begin with a head."""
        super().__init__(*arguments, **named)
        self._heads_read = 0
        self._is_in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that is too long ends the connection."""
        was_in_head, heads_before = self._is_in_head, self._heads_read
        super().data_received(data)
        if not (was_in_head and heads_before == self._heads_read):
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Note the head's end."""
        self._is_in_head = False
        self._heads_read += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._is_in_head = True
        super().on_message_complete()


class Server(uvicorn.Server):
    """A server that, once asked to end, answers those who still wait shortly before its time is up.

    Args:
        config: uvicorn's own; its graceful time-out bounds the end.
        app: The web tier.
    """

    def __init__(self, config: uvicorn.Config, app: WebApp) -> None:
        """Take the parts."""
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[Any] | None = None) -> None:
        """Serve until a signal."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            patience_s = (self.config.timeout_graceful_shutdown or 0) * 0.8
            self._loop.call_soon_threadsafe(self._loop.call_later, patience_s, self._app.release_waiters)
