"""The web tier in this process with everything behind it in memory, for one request after the other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from beholder.clock import ManualClock
from beholder.queue.memory import MemoryQueue
from beholder.store.memory import MemoryStore
from beholder.web.app import build_app
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.reply_sources import PolledReplies
from helpers.asgi import Answer, call, running

__all__ = ["Ask", "Breaking", "ask", "memory_lookup", "memory_ports"]


@dataclass(frozen=True)
class Ask:
    """A request to send."""

    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Breaking:
    """A port each of whose calls raises an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        def call_it(*_args: Any, **_more: Any) -> Any:
            raise self._error

        return call_it


def memory_ports(**more: Any) -> WebPorts:
    """Return ports in memory, except those that are given."""
    ports: dict[str, Any] = {
        "queue": MemoryQueue(),
        "replies": PolledReplies(MemoryQueue(), wait_s=0.01),
        "reply_to": lambda: "web-0",
        "images": MemoryStore(),
        "results": MemoryStore(),
        "models": (ServedModel("first", "1", "MIT", "", 4, "as-is", None),),
        "clock": ManualClock(),
    }
    return WebPorts(**ports | more)


def memory_lookup() -> JobLookup:
    """Return a lookup that finds no job."""
    return JobLookup(memory_ports())


def ask(ports: WebPorts, *asked: Ask) -> list[Answer]:
    """Return the answers of a new web tier to requests."""

    async def serve() -> Sequence[Answer]:
        app = build_app(ports)
        async with running(app):
            return [await call(app, one.method, one.target, one.body, **one.headers) for one in asked]

    return list(asyncio.run(serve()))
