"""The HTTP server of a web process: uvicorn, with an end that load balancers and clients notice in time."""

import asyncio
import contextlib
import logging
from types import FrameType
from typing import Any

import uvicorn

from beholder.cli.service_manager import tell_service_manager
from beholder.telemetry.log import log_event
from beholder.web.app import WebApp

__all__ = ["Server"]

_log = logging.getLogger(__name__)
# By these uvicorn counts when the Date header is due.
_TICKS_PER_S = 10


class Server(uvicorn.Server):
    """A server that answers the pending requests with 202 shortly before its graceful time-out ends.

    Args:
        config: uvicorn's configuration, with the graceful time-out.
        app: The web tier.
        shutdown_delay_s: How long it serves on after the first signal while `/readyz` answers 503.
    """

    def __init__(self, config: uvicorn.Config, app: WebApp, *, shutdown_delay_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._shutdown_delay_s = shutdown_delay_s
        self._is_draining = False
        self._is_ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[Any] | None = None) -> None:
        """Serve until a signal."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Begin to listen, and tell the service manager."""
        await super().startup(sockets)
        tell_service_manager("READY=1")

    async def main_loop(self) -> None:
        """Tick once a second until the shutdown; uvicorn's own loop looks each 0.1 s whether it has come."""
        counter = 0
        while not await self.on_tick(counter):
            counter += _TICKS_PER_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), 1.0)

    async def on_tick(self, counter: int) -> bool:
        """Tell the service manager that the loop turns."""
        tell_service_manager("WATCHDOG=1")
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown, after the delay if this is the first signal."""
        if self._loop is None or self._is_draining or not self._shutdown_delay_s:
            self._shut_down(sig, frame)
            return
        self._is_draining = True
        self._loop.call_soon_threadsafe(self._drain, self._loop, sig)

    def _drain(self, loop: asyncio.AbstractEventLoop, sig: int) -> None:
        self._app.drain()
        facts = {"shutdown_delay_s": self._shutdown_delay_s}
        log_event(_log, logging.INFO, "web.draining", "serving until load balancers know", **facts)
        loop.call_later(self._shutdown_delay_s, self._end_delay, sig)

    def _end_delay(self, sig: int) -> None:
        if not self.should_exit:  # a second signal comes first
            self._shut_down(sig, None)

    def _shut_down(self, sig: int, frame: FrameType | None) -> None:
        """Close the listener, and schedule the answers to the pending requests."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._is_ending.set)
            patience_s = (self.config.timeout_graceful_shutdown or 0) * 0.8
            self._loop.call_soon_threadsafe(
                self._loop.call_later, patience_s, self._app.release_pending_replies
            )
