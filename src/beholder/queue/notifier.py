"""Notifiers: how a process that sends wakes a process that waits, without a server and without polling.

A waiting receive opens a notifier, a FIFO in a folder that all processes of the machine share, looks at the
queue once more, and sleeps until it is notified. A process that makes messages visible notifies one receive
for each. It first unlinks the FIFO, which only one process can do, so no two senders wake the same receive.
They are FIFOs and not sockets, because a socket's path has at most 108 bytes and data folders lie deep.
"""

import contextlib
import errno
import math
import os
import secrets
import select
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Notifier", "Notifiers"]

# A FIFO gets its public name once its reader is open, so a notifier without a reader is a dead process's.
_UNFINISHED = "."


class Notifier:
    """The notifier of one waiting receive; it is used at most once.

    Args:
        reader: The open end of a FIFO.
        interrupt_fd: Ends the sleep, too, once it is readable; -1 if there is none.
    """

    def __init__(self, reader: int, interrupt_fd: int) -> None:
        self._reader = reader
        self._interrupt_fd = interrupt_fd

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a process notifies or interrupts, `timeout_s` at most; return whether one did."""
        # Not select(): it fails from the 1,024th open file on, and a web process may have more.
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if self._interrupt_fd >= 0:
            poll.register(self._interrupt_fd, select.POLLIN)
        return bool(poll.poll(math.ceil(timeout_s * 1000)))


class Notifiers:
    """The notifiers of one queue, those of all processes.

    Args:
        folder: Their folder, made with the first notifier.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def listening(self, interrupt_fd: int = -1) -> Iterator[Notifier]:
        """Open a notifier, and remove it at the end.

        Look at the queue after opening the notifier (a message that is sent later notifies it) and again
        after its end (the message that notified it is there by then): so no message is overlooked.

        Args:
            interrupt_fd: Ends its sleep, too, once it is readable; -1 if there is none.

        Raises:
            OSError: The FIFO cannot be made.
        """
        # Names sort by age. The clock is the machine's, the same for all its processes.
        name = f"{time.monotonic_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        unfinished, path = self._folder / f"{_UNFINISHED}{name}", self._folder / name
        try:
            os.mkfifo(unfinished, mode=0o600)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.mkfifo(unfinished, mode=0o600)
        reader = None
        try:
            # Open for writing, too: a FIFO whose last writer has left would count as readable for ever.
            reader = os.open(unfinished, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            unfinished.rename(path)
            yield Notifier(reader, interrupt_fd)
        finally:
            # Removed before the reader closes, or a sender would take the process for dead.
            for left in (path, unfinished):
                with contextlib.suppress(FileNotFoundError):
                    left.unlink()
            if reader is not None:
                os.close(reader)

    def notify(self, count: int = 1) -> None:
        """Notify `count` waiting receives, or all if there are fewer.

        Notifiers of dead processes are removed on the way. This never raises: a receive that could not be
        notified looks at the queue by itself before long.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 -- half the time of iterdir, and paid at every send
        except OSError:  # no receive waits; or the folder is lost, and the next receive reports it
            return
        if not names:
            return
        # The newest first, though any order serves: a receive notifies another of what it leaves.
        for name in sorted(names, reverse=True):
            if count <= 0:
                return
            if not name.startswith(_UNFINISHED) and _notify_one(f"{self._folder}/{name}"):
                count -= 1


def _notify_one(path: str) -> bool:
    try:
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a FIFO without a reader: its process was killed
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 -- see notify
        return False
    try:
        os.unlink(path)  # noqa: PTH108 -- succeeds for one of several senders; only that one goes on
        os.write(writer, b"!")
    except OSError:  # another sender was first, or the receive has ended
        return False
    else:
        return True
    finally:
        os.close(writer)
