"""One reading of a store at a time, for all requests of an event loop that need what it brings."""

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["SharedReading"]


class SharedReading:
    """Starts a reading, or waits for the one that goes on; used from one event loop.

    Args:
        read: Reads, and keeps what it read.
    """

    def __init__(self, read: Callable[[], Coroutine[None, None, None]]) -> None:
        self._read = read
        self._reading: asyncio.Task[None] | None = None
        self._since_s = 0.0

    async def wait(self, wait_s_max: float | None) -> None:
        """Wait for a reading; an unexpected error of it is raised.

        Args:
            wait_s_max: After so many seconds the reading goes on alone; None for as long as it takes.
        """
        loop = asyncio.get_running_loop()
        if self._reading is None or self._reading.done():
            self._reading = loop.create_task(self._read())
            self._since_s = loop.time()
        reading = self._reading
        rest_s = None if wait_s_max is None else max(0.0, self._since_s + wait_s_max - loop.time())
        await asyncio.wait({reading}, timeout=rest_s)
        if reading.done():
            reading.result()
