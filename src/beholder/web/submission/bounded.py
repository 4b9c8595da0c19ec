"""Calls of a store that block, each for a bounded time.

A store that hangs would otherwise keep each request as long as all requests before it, one after the other.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from beholder.errors import BackendUnavailable

__all__ = ["LOOKUP_S_MAX", "bounded"]

_T = TypeVar("_T")
_A = TypeVar("_A")
# A lookup takes milliseconds, at most some seconds while S3 asks for fewer requests.
LOOKUP_S_MAX = 10.0


async def bounded(threads: Executor | None, wait_s_max: float, call: Callable[[_A], _T], argument: _A) -> _T:
    """Return what a call in a thread returns; a call that has not begun by the end of its time never does.

    Args:
        threads: Run it; None for the event loop's own.
        wait_s_max: How long it may take, the time in which no thread is free included.
        call: The call.
        argument: Its argument.

    Raises:
        BackendUnavailable: It takes longer; it may have an effect nevertheless.
    """
    running = asyncio.get_running_loop().run_in_executor(threads, call, argument)
    try:
        # `asyncio.wait_for` of Python 3.11 can lose the cancelling of a task that waits here.
        async with asyncio.timeout(wait_s_max):
            return await running
    except TimeoutError as exc:
        raise BackendUnavailable("store", "lookup", f"no answer within {wait_s_max:g} s") from exc
