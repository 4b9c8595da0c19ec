"""Sockets between a guest's network and the outside, in both directions."""

import contextlib
import ctypes
import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CONNECT_S = 10.0
_CHUNK_BYTES = 65_536


def listen_inside(pid: int, address: tuple[str, int]) -> socket.socket:
    """Return a listening socket in the network namespace of a process.

    Raises:
        OSError: The namespace cannot be entered, or the address is taken in it.
    """
    return _inside(pid, lambda: socket.create_server(address, backlog=128))


def connect_inside(pid: int, address: tuple[str, int]) -> socket.socket:
    """Return a connection that a process of the network namespace could have made.

    Raises:
        OSError: The namespace cannot be entered, or nothing listens there.
    """
    return _inside(pid, lambda: socket.create_connection(address, _CONNECT_S))


def _inside(pid: int, make: Callable[[], socket.socket]) -> socket.socket:
    """Return a socket that is made in the network namespace of a process.

    A namespace is entered by one thread, and a socket stays in the namespace that it was made in. The thread
    ends at once, so that nothing else is made there by mistake.
    """
    made: list[socket.socket] = []
    failures: list[OSError] = []

    def enter_and_make() -> None:
        try:
            _enter(Path(f"/proc/{pid}/ns/net"))
            made.append(make())
        except OSError as exc:
            failures.append(exc)

    thread = threading.Thread(target=enter_and_make, name="inside")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]


def connect(address: tuple[str, int]) -> socket.socket:
    """Return a connection to an address outside."""
    return socket.create_connection(address, _CONNECT_S)


def _enter(namespace: Path) -> None:
    # os.setns is there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open("rb") as opened:
        if libc.setns(opened.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))


class Door:
    """Serves each connection to a listening socket in a thread of its own.

    Args:
        listener: Closed with the door.
        serve: Called with each connection, which is closed when it returns.
    """

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._serve = serve
        self._servants: list[threading.Thread] = []
        self._porter = threading.Thread(target=self._accept, name="door", daemon=True)
        self._porter.start()

    def close(self) -> None:
        """Accept nothing more, and wait for what is being served: close it after the guest is dead."""
        # A thread that waits in accept is woken by a shutdown, not by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._porter.join()
        self._listener.close()
        for servant in self._servants:
            servant.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            servant = threading.Thread(target=self._serve_one, args=(connection,), name="door", daemon=True)
            servant.start()
            self._servants = [one for one in self._servants if one.is_alive()] + [servant]

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(connection)


def relay(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways between two connections, until either side ends; the second is closed."""
    with far, selectors.DefaultSelector() as readable:
        far.settimeout(None)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        readable.register(near, selectors.EVENT_READ, (near, far))
        readable.register(far, selectors.EVENT_READ, (far, near))
        while True:
            for key, _ in readable.select():
                source, target = key.data
                data = source.recv(_CHUNK_BYTES)
                if not data:
                    return
                target.sendall(data)
