"""Sends the requests of a plan: clients in one event loop take them from one shared iterator."""

import asyncio
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import uvloop

from beholder.errors import ConfigError
from beholder.loadgen.answer import Answer, Response
from beholder.loadgen.body import Bodies
from beholder.loadgen.plan import LoadPlan, Shot, shots
from beholder.loadgen.report import LoadReport, report_from
from beholder.loadgen.sender import HttpSender, open_session

__all__ = ["drive", "probe", "run_load"]

_PROBE_TIMEOUT_S = 10.0


def run_load(plan: LoadPlan, on_answer: Callable[[Answer], None]) -> LoadReport:
    """Send every request of a plan and report; Ctrl-C ends it early, with the report of what was done.

    Args:
        plan: What to send.
        on_answer: Called with each answer as it comes, in this thread; the requests wait until it returns.

    Raises:
        ConfigError: An image cannot be read.
    """
    bodies = Bodies(plan.images, is_raw=plan.is_v1, boundary=uuid.uuid4().hex)
    try:
        bodies.preload(plan.request_count_max or len(plan.images))
    except OSError as exc:
        raise ConfigError(f"an image cannot be read: {exc}") from exc
    answers: list[Answer] = []

    def keep(answer: Answer) -> None:
        answers.append(answer)
        on_answer(answer)

    started_at_s, is_interrupted = time.perf_counter(), False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_send_all(plan, bodies, keep))
    except KeyboardInterrupt:
        is_interrupted = True
    duration_s = time.perf_counter() - started_at_s
    return report_from(answers, duration_s=duration_s, is_interrupted=is_interrupted)


async def _send_all(plan: LoadPlan, bodies: Bodies, on_answer: Callable[[Answer], None]) -> None:
    async with open_session() as session:
        send = HttpSender(plan, bodies, session)
        await drive(plan, send, on_answer, now_s=time.perf_counter, sleep=asyncio.sleep)


async def drive(
    plan: LoadPlan,
    send: Callable[[Shot], Awaitable[Response]],
    on_answer: Callable[[Answer], None],
    *,
    now_s: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Send the requests of a plan with its clients.

    Each client takes the next request, waits until it is due and sends it. The closed and the open loop
    differ only in the number of clients and in whether a request has a time. A request that falls due while
    every client waits for an answer is sent late; its latency counts from when it was due.

    Args:
        plan: What to send.
        send: Sends one request and returns the final response.
        on_answer: Called with each answer.
        now_s: Returns the time in seconds, from any start.
        sleep: Waits for so many seconds.
    """
    start_s = now_s()
    names = [image.name for image in plan.images]
    todo = shots(plan)

    async def client() -> None:
        for shot in todo:
            sent_at_s = now_s() - start_s
            if shot.due_s is None:
                if plan.duration_s is not None and sent_at_s >= plan.duration_s:
                    return
            elif shot.due_s > sent_at_s:
                await sleep(shot.due_s - sent_at_s)
                sent_at_s = now_s() - start_s
            due_s = sent_at_s if shot.due_s is None else shot.due_s
            response = await send(shot)
            on_answer(Answer(names[shot.image], due_s, sent_at_s, now_s() - start_s, response))

    async with asyncio.TaskGroup() as clients:
        for _ in range(plan.client_count):
            clients.create_task(client())


def probe(url: str) -> None:
    """Connect to a URL's server once, so that the user gets one clear message if the service is not running.

    Raises:
        ConfigError: Nothing listens there; the message says how to start the service.
    """
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError as exc:
        hint = "is the service running? start it with: beholder up"
        raise ConfigError(f"{url} cannot be reached ({exc.strerror or exc}): {hint}") from exc
