"""An event that signals set, for the main thread of a process that has nothing to do but to wait for it."""

import os
import select
import signal
import threading
from contextlib import suppress

from beholder.clock import MonotonicClock

__all__ = ["StopEvent"]


class StopEvent(threading.Event):
    """An event whose `wait` misses no signal, however long it is; make it and wait for it in the main thread.

    The handler of a signal that arrives right before a plain wait runs after it. Python writes a byte for
    each signal into a pipe, and this wait ends when one is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read_fd, self._write_fd = os.pipe()
        for fd in (self._read_fd, self._write_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def set(self) -> None:
        """Set the event, in a handler or in any thread."""
        super().set()
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._write_fd, b"!")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, `timeout` seconds at most; return whether it is set."""
        clock = MonotonicClock()
        until_s = None if timeout is None else clock.now_s() + timeout
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        while not self.is_set():
            left_s = None if until_s is None else until_s - clock.now_s()
            if left_s is not None and left_s <= 0:
                break
            if poll.poll(None if left_s is None else left_s * 1000):
                os.read(self._read_fd, 4096)
        return self.is_set()
