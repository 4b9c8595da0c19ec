"""The HTTP server of a web process: uvicorn, which answers the pending requests before it ends."""

import asyncio
from types import FrameType
from typing import Any

import uvicorn

from beholder.web.app import WebApp

__all__ = ["Server"]


class Server(uvicorn.Server):
    """A server that answers the pending requests with 202 shortly before its graceful time-out ends.

    Args:
        config: uvicorn's configuration, with the graceful time-out.
        app: The web tier.
    """

    def __init__(self, config: uvicorn.Config, app: WebApp) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[Any] | None = None) -> None:
        """Serve until a signal."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown, and schedule the answers to the pending requests."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            patience_s = (self.config.timeout_graceful_shutdown or 0) * 0.8
            self._loop.call_soon_threadsafe(
                self._loop.call_later, patience_s, self._app.release_pending_replies
            )
