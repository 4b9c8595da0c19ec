"""The loop of a long-running part: it calls a `tick()` again, after the pause that the tick asks for.

Every long-running part of beholder is a `tick()` that does one pass and returns the seconds until the next.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from beholder.clock import Clock, MonotonicClock
from beholder.errors import BeholderError, ConfigError
from beholder.telemetry.log import log_event

__all__ = ["Runner", "persist", "run"]

_log = logging.getLogger(__name__)

_PAUSE_AFTER_ERROR_S = 0.5
_PAUSE_MAX_S = 10.0
# For how long a start is repeated: where a service is away, and where a permission may be on its way.
_AWAY_S_MAX, _REFUSED_S_MAX = 300.0, 60.0
_MONOTONIC_CLOCK = MonotonicClock()

_T = TypeVar("_T")


def run(
    name: str, tick: Callable[[], float], stop: threading.Event, notifier: threading.Event | None = None
) -> None:
    """Call `tick` until `stop` is set, sleeping between passes for as long as it says.

    This is the outermost place of its thread, so it catches everything: an error is logged, and the next pass
    comes after a pause that grows while errors go on.

    Args:
        name: The part's name, for the log.
        tick: One pass; returns the seconds until the next.
        stop: Ends the loop, and a sleep at once where there is no notifier.
        notifier: Ends a sleep when it is set, and is cleared then; the caller that sets `stop` sets it too.
    """
    pause_s = _PAUSE_AFTER_ERROR_S
    while not stop.is_set():
        try:
            delay_s = tick()
            pause_s = _PAUSE_AFTER_ERROR_S
        except BeholderError as exc:
            log_event(_log, logging.WARNING, f"{name}.retry", exc.message, code=exc.code, pause_s=pause_s)
            delay_s, pause_s = pause_s, min(pause_s * 2, _PAUSE_MAX_S)
        except Exception:  # noqa: BLE001 -- the outermost place of a thread
            _log.exception("a pass failed", extra={"action": f"{name}.error", "facts": {"pause_s": pause_s}})
            delay_s, pause_s = pause_s, min(pause_s * 2, _PAUSE_MAX_S)
        if delay_s > 0:
            (notifier or stop).wait(delay_s)
        if notifier:
            notifier.clear()


def persist(
    name: str, call: Callable[[], _T], stop: threading.Event, *, clock: Clock = _MONOTONIC_CLOCK
) -> _T:
    """Return the value of `call`, which is repeated for minutes where it fails for now.

    The pauses grow up to 10 s, with jitter, so that a fleet does not ask all at once.

    Args:
        name: The part's name, for the log.
        call: A step of a process's start.
        stop: Ends the attempts.
        clock: The time; only durations count.

    Raises:
        BeholderError: The call failed for good, or for too long; or `stop` was set.
    """
    begun_s, pause_s = clock.now_s(), _PAUSE_AFTER_ERROR_S
    while True:
        try:
            return call()
        except BeholderError as exc:
            refused_s = _REFUSED_S_MAX if isinstance(exc, ConfigError) and exc.may_pass else 0.0
            left_s = begun_s + (_AWAY_S_MAX if exc.retryable else refused_s) - clock.now_s()
            if left_s <= 0 or stop.is_set():
                raise
            pause_s = min(pause_s, left_s)
            log_event(
                _log, logging.WARNING, f"{name}.retry", exc.message, code=exc.code, pause_s=round(pause_s, 1)
            )
            if stop.wait(pause_s * random.uniform(0.5, 1.0)):
                raise
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)


class Runner:
    """Runs ticks in threads of their own, and stops them together."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._notifiers: list[threading.Event] = []

    def start(self, name: str, tick: Callable[[], float], notifier: threading.Event | None = None) -> None:
        """Run `tick` in a thread named `name` from now on; setting `notifier` ends a sleep of it."""
        if notifier:
            self._notifiers.append(notifier)
        thread = threading.Thread(target=run, args=(name, tick, self._stop, notifier), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End every loop after its current pass, and wait for each at most `timeout_s`."""
        self._stop.set()
        for notifier in self._notifiers:
            notifier.set()
        for thread in self._threads:
            thread.join(timeout_s)
