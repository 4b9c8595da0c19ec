"""A web process in this process: no socket, everything behind it in memory, and the rig's workers."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Self

from beholder.model.decode.limits import ImageLimits
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Received
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.reply_sources import PolledReplies
from beholder.worker.journal import read_running
from helpers.asgi import Answer, call, running
from helpers.rig import RecordedPort, Rig

__all__ = ["ASYNC", "IMAGE_BYTES_MAX", "LIMITS", "WAIT_S", "Web", "is_problem"]

WAIT_S = 20.0
IMAGE_BYTES_MAX = 50_000
LIMITS = WebLimits(image=ImageLimits(image_bytes_max=IMAGE_BYTES_MAX), wait_s_default=WAIT_S)
ASYNC = {"prefer": "respond-async"}


class Impatient(MemoryQueue):
    """A reply queue whose listener notices a stop soon."""

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        return super().receive(
            count_max=count_max, wait_s=min(wait_s, 0.05), visibility_timeout_s=visibility_timeout_s
        )


class Web(Rig):
    """A web process without its sockets, and the rig's workers behind it."""

    def __init__(self, folder: Path, limits: WebLimits = LIMITS) -> None:
        super().__init__(folder)
        self.replies["web-0"] = Impatient(clock=self.clock)
        self.telemetry = Telemetry()
        self.app = build_app(self.ports(limits))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web")

    def ports(self, limits: WebLimits = LIMITS) -> WebPorts:
        model = ServedModel("first", "1", "MIT", "", 4, "as-is", None)
        return WebPorts(
            queue=RecordedPort(self.queue, "queue", self.recorder),
            replies=PolledReplies(self.replies["web-0"]),
            reply_to=lambda: "web-0",
            images=RecordedPort(self.images, "images", self.recorder),
            results=RecordedPort(self.results, "results", self.recorder),
            models=(model,),
            clock=self.clock,
            limits=limits,
            telemetry=self.telemetry,
            version="1.2.3",
            running=partial(read_running, self.folder),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._lifespan = running(self.app)
        self.start(self._lifespan.__aenter__()).result(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.start(self._lifespan.__aexit__(None, None, None)).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def begin(self, method: str, target: str, *args: Any, **more: Any) -> "Future[Answer]":
        return self.start(call(self.app, method, target, *args, **more))

    def ask(self, method: str, target: str, *args: Any, **more: Any) -> Answer:
        return self.begin(method, target, *args, **more).result(WAIT_S)

    def work(self) -> None:
        """Let a worker take what is sent next through all its steps."""
        self.begun("worker-web", wait_s=WAIT_S).tick()

    def count(self, name: str, **labels: str) -> float:
        return self.telemetry.registry.get_sample_value(name, labels) or 0.0


def is_problem(answer: Answer, status: int, code: str) -> bool:
    """Say whether an answer is this problem, and a whole one."""
    document = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == document["request_id"]
    assert (answer.status, document["status"], document["code"]) == (status, status, code)
    assert document["type"] == f"urn:beholder:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return True
