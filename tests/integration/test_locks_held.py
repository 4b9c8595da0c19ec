"""Another process holds a lock and does not go on: the event loop does, and no request waits without end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beholder import file_lock
from beholder.queue import commit, sqlite
from beholder.queue.sqlite import SqliteQueue
from beholder.store.folder import FolderStore
from beholder.web.app import WebApp, build_app
from helpers.asgi import Answer, call, running
from helpers.images import jpeg
from helpers.web import memory_ports

LATER = {"prefer": "respond-async"}
HOLD = """
import fcntl, sqlite3, sys
kind, folder = sys.argv[1:]
if kind == "database":
    sqlite3.connect(folder + "/queue", isolation_level=None).execute("begin immediate")
store = [f"{folder}/i/.locks/{number}" for number in range(64)]
paths = {"queue": [folder + "/queue.lock"], "store": store, "database": []}
files = [open(path, "ab") for path in paths[kind]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(kind: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold locks in another process, which is stopped, until the block ends."""
    command = [sys.executable, "-c", HOLD, kind, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        # A loop that waits for the holder would never come to kill it.
        killer = threading.Timer(60, holder.kill)
        killer.start()
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            os.kill(holder.pid, signal.SIGSTOP)
            yield holder
        finally:
            killer.cancel()
            holder.kill()


def serve(folder: Path, scenario: Callable[[WebApp], Awaitable[None]]) -> int:
    """Run a scenario with a web tier of one machine; return the number of messages that it sent."""

    async def run() -> None:
        ports = memory_ports(
            queue=queue,
            images=FolderStore(folder / "i"),
            results=FolderStore(folder / "o"),
            submit_loop_bytes_max=500_000,
        )
        app = build_app(ports)
        async with running(app):
            await scenario(app)

    with SqliteQueue(folder / "queue", "input") as queue:
        asyncio.run(run())
        return queue.depth().backlog


def posts(app: WebApp, count: int) -> list[asyncio.Task[Answer]]:
    """Send images in turn with default options, others, and a key."""
    targets = [("/v1/classify", {}), ("/v1/classify?top_k=2", {}), ("/v1/classify", {"idempotency_key": "k"})]
    tasks = []
    for number in range(count):
        target, headers = targets[number % 3]
        more = LATER | {name: f"{text}{number}" for name, text in headers.items()}
        tasks.append(asyncio.create_task(call(app, "POST", target, jpeg(number), **more)))
    return tasks


@pytest.mark.parametrize("kind", ["queue", "store", "database"])
def test_the_loop_goes_on_and_so_does_each_request_once_the_lock_is_free(kind: str, tmp_path: Path) -> None:
    async def scenario(app: WebApp) -> None:
        with holding(kind, tmp_path) as holder:
            tasks = posts(app, 6)
            # Each task takes a turn of the loop, in which the images were to be stored.
            for _ in range(20):
                assert (await asyncio.create_task(call(app, "GET", "/healthz"))).status == 200
            assert holder.poll() is None
            assert sum(not task.done() for task in tasks) >= (4 if kind == "store" else 6)
        assert [one.status for one in await asyncio.gather(*tasks)] == [202] * 6

    assert serve(tmp_path, scenario) == 6


@pytest.mark.parametrize("kind", ["queue", "store", "database"])
def test_while_the_lock_is_held_requests_are_refused_and_leave_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "_WAIT_S_MAX", 0.02 if kind == "store" else 0.3)
    for module in (commit, sqlite):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.3)

    async def scenario(app: WebApp) -> None:
        with holding(kind, tmp_path) as holder:
            answers = await asyncio.gather(*posts(app, 60))
            assert holder.poll() is None
            refused = [one for one in answers if one.status != 202]
            assert {json.loads(one.body)["code"] for one in refused} == {"backend_unavailable"}
            assert len(refused) == (40 if kind == "store" else 60)
        assert len(list(FolderStore(tmp_path / "i").list(""))) == 60 - len(refused)
        assert [one.status for one in await asyncio.gather(*posts(app, 6))] == [202] * 6

    assert serve(tmp_path, scenario) == (26 if kind == "store" else 6)
