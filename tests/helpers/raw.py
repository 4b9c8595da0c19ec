"""A small application behind the web tier's own protocol, in this process, and a client that sends bytes."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import uvicorn

from beholder.web.connections.protocol import BoundedProtocol
from beholder.web.connections.registry import Connections
from beholder.web.limits import WebLimits

__all__ = ["Answer", "Client", "RawServer", "raw_server"]

TIMEOUT_S = 30.0
LARGE_BYTES = 30_000_000


@dataclass
class RawServer:
    """Answers each request with what it got of it; a path says how.

    `/no` leaves the body unread, `/wait` answers once `release` is set, `/large` answers with 30 MB.
    """

    port: int = 0
    heads: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heads.append(scope)
        body = b""
        is_reading = scope["path"] != "/no"
        while is_reading:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body += message["body"]
            is_reading = message["more_body"]
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.release.wait()
        answer = f"{scope['method']} {scope['path']} {len(body)}".encode()
        if scope["path"] == "/large":
            answer = bytes(LARGE_BYTES)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def let_go(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.release.set)


class _RecordingConnections(Connections):
    """Reports that a connection has ended, which a client that reads nothing does not see."""

    def __init__(self, limits: WebLimits, closed: threading.Event) -> None:
        super().__init__(limits.connections_max, limits.transfer_s_min)
        self._closed = closed

    def remove(self, connection: Any) -> None:
        super().remove(connection)
        self._closed.set()


@contextmanager
def raw_server(limits: WebLimits) -> Iterator[RawServer]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    app = RawServer()
    listener = socket.create_server(("127.0.0.1", 0))
    app.port = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(BoundedProtocol, limits, _RecordingConnections(limits, app.closed), app.refusals.append),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        app.loop = asyncio.get_running_loop()
        await server.serve([listener])

    thread = threading.Thread(target=_run, args=(config, serve))
    thread.start()
    try:
        yield app
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _run(config: uvicorn.Config, serve: Any) -> None:
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        return str(json.loads(self.body)["code"])


class Client:
    """One connection; a context manager."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def answer(self) -> Answer:
        """Return the next answer."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1.1 (\d+) ", head)
        assert status
        lines = [line.decode().partition(":") for line in head.split(b"\r\n")[1:]]
        headers = {name.lower(): value.strip() for name, _, value in lines}
        length = int(headers.get("content-length", "0"))
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(status[1]), headers, body)

    def is_closed(self) -> bool:
        """Wait until the server closes; return False if it sends something first."""
        if self._read:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        assert data, f"closed behind {self._read!r}"
        self._read += data
