"""The replies of one machine: each web process has a Unix socket, which its event loop reads by itself.

A reply is a hint, so it needs no file: if the web process has died, no request waits for it, and if it is
lost, the web process finds the outcome in the output bucket. A datagram takes one system call on each side;
a message in the queue file took two transactions, and two threads that wake each other.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from beholder.clock import Clock, MonotonicClock
from beholder.errors import BackendUnavailable
from beholder.queue.bounds import check_name

__all__ = ["ReplySender", "ReplySocket"]

_MONOTONIC = MonotonicClock()
_BACKEND = "reply socket"
_SUFFIX = ".replies"
# The longest datagram; a bundle of outcomes has 200 KB.
_BYTES_MAX = 1 << 20
# How long the kernel's queue, of ten datagrams by default, may stay full; then the web process hangs.
_SEND_S_MAX = 1.0
# How much of that time each reply that was taken gives back.
_REGAINED_S = 0.05


class ReplySocket:
    """The socket at which one web process receives; a file in the folder stands for it.

    Args:
        folder: Holds the sockets of all web processes.
        name: Of the process; a socket that a dead process of this name has left is replaced.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}{_SUFFIX}"
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with _Folder(folder) as short:
                self._socket.bind(f"{short}/{unfinished.name}")
            unfinished.chmod(0o600)
            unfinished.replace(path)
        except BaseException:
            self._socket.close()
            raise
        self._path = path

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a reply is there."""
        return self._socket.fileno()

    def receive(self) -> list[bytes]:
        """Return the replies that are there, without waiting."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(_BYTES_MAX))
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Remove the socket; later replies to it are refused."""
        self._path.unlink(missing_ok=True)
        self._socket.close()


class ReplySender:
    """Sends replies to one web process; any number of threads and processes may do so.

    A web process that does not read costs a worker `send_s_max` in all, and not for each reply: the other web
    processes need the worker. Once that time is used up, a reply that does not fit is lost at once. Time
    comes back with the replies that are taken.

    Args:
        folder: Holds the sockets of all web processes.
        name: Of the web process.
        send_s_max: How long sends wait for a web process that does not read.
        clock: Measures how long they wait.

    Raises:
        ValueError: It is no name.
    """

    def __init__(
        self, folder: Path, name: str, *, send_s_max: float = _SEND_S_MAX, clock: Clock = _MONOTONIC
    ) -> None:
        check_name(name)  # it came in a message
        self._folder = folder
        self._name = name
        self._send_s_max = send_s_max
        self._clock = clock
        # Threads may count each other's waits; the bound is a few of them then.
        self._left_s = send_s_max

    def send(self, bodies: Sequence[bytes]) -> None:
        """Send replies; see `Sender.send`.

        Raises:
            BackendUnavailable: The web process is gone or hangs, or a reply is too long; some may be sent.
        """
        try:
            # Made anew each time, which takes microseconds: nothing is left to close.
            with _Folder(self._folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BYTES_MAX)
                sending.connect(f"{short}/{self._name}{_SUFFIX}")
                for body in bodies:
                    self._send(sending, body)
        except (BlockingIOError, TimeoutError) as exc:
            raise BackendUnavailable(_BACKEND, "send", f"{self._name} does not read its replies") from exc
        except OSError as exc:
            raise BackendUnavailable(_BACKEND, "send", f"{self._name}: {exc}") from exc

    def _send(self, sending: socket.socket, body: bytes) -> None:
        try:
            sending.send(body)
        except BlockingIOError:
            began_s = self._clock.now_s()
            sending.settimeout(self._left_s)
            try:
                sending.send(body)
            finally:
                sending.setblocking(False)
                self._left_s = max(0.0, self._left_s - (self._clock.now_s() - began_s))
        self._left_s = min(self._send_s_max, self._left_s + _REGAINED_S)


class _Folder:
    """A short path of a folder while it is open: the address of a socket has at most 108 bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._fd = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
