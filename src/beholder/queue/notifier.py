"""Bells: how a process that sends wakes one that waits, without a server and without polling.

A waiting receive hangs up a notifier, a FIFO in a folder that all processes of the machine share, looks at
the queue once more, and sleeps until the notifier rings. Whoever makes a message visible rings one notifier
a message. Ringing takes the notifier down first, which one process alone can do: no two senders wake the
same receiver. FIFOs and not sockets, because the path of a socket may have 108 bytes at most and data
folders lie deep.
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

# A FIFO gets its public name only when its reader is open, so that a notifier without a reader is a dead one.
_UNFINISHED = "."


class Notifier:
    """One waiting receive's notifier; rings at most once."""

    def __init__(self, reader: int) -> None:
        """Listen at `reader`, the open end of a FIFO."""
        self._reader = reader

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the notifier rings, `timeout_s` at most; return whether it rang."""
        # Not select(): it fails from the 1,024th open file on, which a web tier may well have.
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(math.ceil(timeout_s * 1000)))


class Notifiers:
    """The notifiers of one queue, those of all processes."""

    def __init__(self, folder: Path) -> None:
        """Keep the notifiers in `folder`, which is made when the first one is hung up."""
        self._folder = folder

    @contextlib.contextmanager
    def hang(self) -> Iterator[Notifier]:
        """Hang up a notifier and take it down at the end.

        Look at the queue after hanging the notifier (what is sent later rings it) and again after taking it
        down (what rang it is there by then): so no message is overlooked, and none that rang a notifier is
        forgotten.

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
            # Open for both ways: a FIFO whose last writer leaves would count as readable for ever.
            reader = os.open(unfinished, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            unfinished.rename(path)
            yield Notifier(reader)
        finally:
            # Taken down before the reader closes: nobody may find the notifier dead while its owner lives.
            for left in (path, unfinished):
                with contextlib.suppress(FileNotFoundError):
                    left.unlink()
            if reader is not None:
                os.close(reader)

    def ring(self, count: int = 1) -> None:
        """Ring `count` notifiers, or as many as hang; those of dead processes are removed on the way.

        Never raises for a notifier that cannot be rung: its owner looks by itself before long.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 -- half the time of iterdir, and paid at every send
        except OSError:  # none hangs; or the folder is lost, which a receive finds out: what was sent is sent
            return
        if not names:
            return
        # The newest first, though any order serves: whoever is woken passes on what it leaves.
        for name in sorted(names, reverse=True):
            if count <= 0:
                return
            if not name.startswith(_UNFINISHED) and _ring_one(f"{self._folder}/{name}"):
                count -= 1

    def remove(self) -> None:
        """Remove every notifier and the folder; a receive that still waits hangs up a new one."""
        try:
            for path in self._folder.iterdir():
                path.unlink(missing_ok=True)
            self._folder.rmdir()
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise


def _ring_one(path: str) -> bool:
    try:
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a FIFO nobody reads: its process was killed
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 -- see ring
        return False
    try:
        os.unlink(path)  # noqa: PTH108 -- of several senders, the one that succeeds here rings
        os.write(writer, b"!")
    except OSError:  # another sender was first, or its owner took it down or died
        return False
    else:
        return True
    finally:
        os.close(writer)
