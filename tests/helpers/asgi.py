"""Calls an ASGI application in this process: no socket, no server, and no client library."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Gone", "call", "running"]


class Gone(Exception):
    """The application ended a request without an answer."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    chunks_read: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Any,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    leaves: bool = False,
    **headers: str,
) -> Answer:
    """Serve one request.

    Args:
        app: The application.
        method: Such as 'GET'.
        target: Path and query.
        body: Whole, with its Content-Length; or in chunks, without one.
        leaves: The client goes away after the last chunk instead of ending its body.
        headers: With `_` for `-`.
    """
    path, _, query = target.partition("?")
    chunks = [body] if isinstance(body, bytes) else list(body)
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    if isinstance(body, bytes) and body and "content_length" not in headers:
        raw.append((b"content-length", b"%d" % len(body)))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
    }
    sent: list[Any] = []
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read == len(chunks):
            return {"type": "http.disconnect"}
        read += 1
        return {
            "type": "http.request",
            "body": chunks[read - 1],
            "more_body": leaves or read < len(chunks),
        }

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        raise Gone
    answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], answered, b"".join(one.get("body", b"") for one in sent[1:]), read)


@contextlib.asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """Start the parts that run beside the application, and stop them at the end."""
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, inbox.get, outbox.put))
    for asked in ("startup", "shutdown"):
        await inbox.put({"type": f"lifespan.{asked}"})
        assert (await outbox.get())["type"] == f"lifespan.{asked}.complete"
        if asked == "startup":
            yield
    await lifespan
