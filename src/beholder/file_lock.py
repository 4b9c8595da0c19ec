"""Locks between processes, on files; the kernel frees a lock when its holder dies.

A holder may also hang, and then nothing frees its lock. So no event loop waits for one, and a thread waits
for a bounded time.
"""

import errno
import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import Self

__all__ = ["FileLock", "is_in_event_loop"]

# Longer than a commit takes that waits for a slow disk.
_WAIT_S_MAX = 10.0
# A holder of the queue's lock frees it after some 50 us; a change of thread takes longer than these tries.
_TRIES = 30
_PAUSE_S_MIN = 0.0002
_PAUSE_S_MAX = 0.01


class FileLock:
    """A lock between processes, and between objects of one process.

    Once a thread has waited for it in vain, no thread waits until it was free again: each of many requests
    would wait as long, one after the other.

    Args:
        path: The file that is locked; made if it is missing.
        wait_s_max: How long a thread waits for it; None for as long as a put may take.

    Raises:
        OSError: The file cannot be opened for writing.
    """

    def __init__(self, path: Path, *, wait_s_max: float | None = None) -> None:
        self._wait_s_max = _WAIT_S_MAX if wait_s_max is None else wait_s_max
        self._file = path.open("ab")
        self._never = threading.Event()  # waiting for it is a pause
        self.is_stuck = False

    def __enter__(self) -> Self:
        """Take the lock, once it is free.

        Raises:
            OSError: It is not free: at once in an event loop, else after `wait_s_max`.
        """
        if not self._is_taken() and (self._is_impatient() or not self._is_taken_later()):
            raise OSError(errno.EBUSY, "another process holds its lock, and does not go on")
        self.is_stuck = False
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock cannot be taken any more."""
        self._file.close()

    def _is_impatient(self) -> bool:
        return self.is_stuck or is_in_event_loop()

    def _is_taken(self, tries: int = _TRIES) -> bool:
        for _ in range(tries):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.sched_yield()
            else:
                return True
        return False

    def _is_taken_later(self) -> bool:
        waited_s, pause_s = 0.0, _PAUSE_S_MIN
        while waited_s < self._wait_s_max:
            self._never.wait(pause_s)
            if self._is_taken(1):
                return True
            waited_s, pause_s = waited_s + pause_s, min(2 * pause_s, _PAUSE_S_MAX)
        self.is_stuck = True
        return False


def is_in_event_loop() -> bool:
    """Return whether the calling thread runs an event loop, which must not wait.

    asyncio is not imported for this: a process that has not imported it runs no loop.
    """
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 -- in its __all__
