"""The only loop that sleeps: it calls a `tick()` again and again, as late as the tick itself asks for.

Every long-running part of beholder is a `tick()` that does one pass and returns the seconds until the next.
"""

import logging
import threading
from collections.abc import Callable

from beholder.errors import BeholderError
from beholder.telemetry.log import get_logger, say

__all__ = ["Runner", "run"]

_log = get_logger(__name__)

_PAUSE_AFTER_ERROR_S = 0.5
_PAUSE_MAX_S = 10.0


def run(
    name: str, tick: Callable[[], float], stop: threading.Event, bell: threading.Event | None = None
) -> None:
    """Call `tick` until `stop` is set, sleeping between passes for as long as it says.

    This is the outermost place of its thread, so it alone catches everything: an error is logged, and the
    next pass comes after a pause that grows while errors go on.

    Args:
        name: Of the part, for the log.
        tick: One pass; returns the seconds until the next.
        stop: Ends the loop; a sleep ends at once, where there is no bell.
        bell: Ends a sleep when it is set, and is cleared then; who sets `stop` sets it too.
    """
    pause_s = _PAUSE_AFTER_ERROR_S
    while not stop.is_set():
        try:
            delay_s = tick()
            pause_s = _PAUSE_AFTER_ERROR_S
        except BeholderError as exc:
            say(_log, logging.WARNING, f"{name}.retry", exc.message, code=exc.code, pause_s=pause_s)
            delay_s, pause_s = pause_s, min(pause_s * 2, _PAUSE_MAX_S)
        except Exception:  # noqa: BLE001 -- the outermost place of a thread; nobody else could log it
            _log.exception("a pass failed", extra={"action": f"{name}.error", "facts": {"pause_s": pause_s}})
            delay_s, pause_s = pause_s, min(pause_s * 2, _PAUSE_MAX_S)
        if delay_s > 0:
            (bell or stop).wait(delay_s)
        if bell:
            bell.clear()


class Runner:
    """Runs ticks in threads of their own, and stops them together."""

    def __init__(self) -> None:
        """Start with none."""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._bells: list[threading.Event] = []

    def start(self, name: str, tick: Callable[[], float], bell: threading.Event | None = None) -> None:
        """Run `tick` in a thread named `name` from now on; setting `bell` ends a sleep of it."""
        if bell:
            self._bells.append(bell)
        thread = threading.Thread(target=run, args=(name, tick, self._stop, bell), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End every loop after its current pass, and wait for each at most `timeout_s`."""
        self._stop.set()
        for bell in self._bells:
            bell.set()
        for thread in self._threads:
            thread.join(timeout_s)
