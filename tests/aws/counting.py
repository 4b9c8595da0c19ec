"""A proxy in front of an emulator that counts requests by operation, and changes nothing."""

import asyncio
import threading
from collections import Counter
from typing import Self
from urllib.parse import urlsplit

import httptools

LOOKUP = "s3:GetObject of a result"
_S3 = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}


class CountingProxy:
    """Passes bytes both ways, and counts the requests that it sees: `sqs:SendMessageBatch`, `s3:PutObject`.

    Gets of results count as `LOOKUP`: a web process looks for an outcome whose reply is late.

    Args:
        endpoint: Of the emulator.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.calls: Counter[str] = Counter()
        self.endpoint = ""
        self.fronts: set[_Front] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counting", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = self._loop.create_server(lambda: _Front(self), "127.0.0.1", 0, backlog=512)
        self._server = asyncio.run_coroutine_threadsafe(server, self._loop).result(10)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for front in tuple(self.fronts):
            front.abort()
        await asyncio.sleep(0.1)  # transports close in passes of the loop to come


class _Front(asyncio.Protocol):
    """A client's connection, and the one upstream that it has for itself."""

    def __init__(self, proxy: CountingProxy) -> None:
        self._proxy = proxy
        watcher = _Watcher(proxy.calls)
        watcher.parser = self._parser = httptools.HttpRequestParser(watcher)
        self._early: list[bytes] = []
        self._back: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._proxy.fronts.add(self)
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(self._connect(loop))

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._back, _ = await loop.create_connection(lambda: _Back(self), *self._proxy.upstream)
        except OSError:
            self.abort()
            return
        self._back.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._back is None:
            self._early.append(data)
        else:
            self._back.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._proxy.fronts.discard(self)
        self.abort()

    def abort(self) -> None:
        self._connecting.cancel()
        self.transport.abort()
        if self._back is not None:
            self._back.abort()


class _Back(asyncio.Protocol):
    def __init__(self, front: _Front) -> None:
        self._front = front

    def data_received(self, data: bytes) -> None:
        self._front.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._front.transport.close()


class _Watcher:
    """Callbacks of the parser of one connection."""

    parser: httptools.HttpRequestParser

    def __init__(self, calls: Counter[str]) -> None:
        self._calls = calls
        self._url = b""
        self._target = ""

    def on_message_begin(self) -> None:
        self._url, self._target = b"", ""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-target":
            self._target = value.decode()

    def on_message_complete(self) -> None:
        if self._target:
            self._calls["sqs:" + self._target.rpartition(".")[2]] += 1
        else:
            self._calls["s3:" + self._s3_operation()] += 1

    def _s3_operation(self) -> str:
        if b"list-type=" in self._url:
            return "ListObjectsV2"
        method = self.parser.get_method().decode()
        if method == "GET" and b"/results/" in self._url:
            return LOOKUP.removeprefix("s3:")
        return _S3.get(method, method)
