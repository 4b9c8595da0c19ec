"""The deliverer of webhooks with receivers and clocks that do their worst; nothing here has a socket."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.job import Job, JobStatus, new_job_id
from beholder.store.keys import webhook_key
from beholder.store.memory import MemoryStore
from beholder.telemetry.metrics import Telemetry
from beholder.web.submission.request import Outcome
from beholder.web.webhooks import looks
from beholder.web.webhooks.deliverer import WebhookDeliverer
from beholder.web.webhooks.events import EventSender, job_body
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.record import Webhook, WebhookRecord
from beholder.web.webhooks.records import WebhookRecords
from beholder.web.webhooks.schedule import PAUSE_S_MAX, Attempt

WAIT_S = 60.0
HOUR_S = 3600.0
Answer = Callable[[str], Awaitable[Attempt]]


class Bench:
    """A deliverer on a bucket in memory; `answer` is what receivers do, by address."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.clock = ManualClock()
        self.results = MemoryStore(clock=self.clock)
        self.outcomes: dict[str, Outcome] = {}
        self.sent: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._answer = answer
        ports = WebhookPorts(str, self._post, (b"s" * 24,), "web-0", chance=lambda: 0.5)
        lookup: Any = self
        self.deliverer = WebhookDeliverer(
            ports,
            WebhookRecords(self.results, self.clock),
            EventSender(ports, self.clock, {"job": job_body}),
            lookup=lookup,
            telemetry=Telemetry(),
            clock=self.clock,
        )

    def outcome(self, job_id: str) -> Outcome | None:
        return self.outcomes.get(job_id)

    find = outcome

    async def _post(self, url: str, _: Mapping[str, str], body: bytes) -> Attempt:
        self.sent.append((url, json.loads(body)["data"]["id"]))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(url) if self._answer else Attempt(200)
        finally:
            self.at_once -= 1

    def add(self, url: str, **more: Any) -> str:
        """Store a finished job with its record; return its id."""
        now_s = self.clock.now_s()
        job_id = new_job_id(now_s)
        job = Job(job_id, JobStatus.CANCELED, now_s, completed_at_s=now_s)
        self.outcomes[job_id] = Outcome(job, b"")
        record = WebhookRecord(job_id, Webhook(url, id="msg_1"), "web-0", now_s, now_s, **more)
        self.results.put(webhook_key(job_id), record.to_bytes())
        return job_id

    def settle(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.deliverer.settled([self.outcomes[job_id]])

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():  # noqa: ASYNC110 -- what is awaited has no event
                await asyncio.sleep(0.001)

    async def idle(self) -> None:
        """Wait until no look goes on and none is due."""
        await self.until(lambda: not self.deliverer._tasks)

    def waiting_for_a_place(self) -> int:
        return sum(map(len, self.deliverer._places._waiting.values()))

    def sent_to(self, url: str) -> list[str]:
        return [job_id for to, job_id in self.sent if to == url]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def all_of_it() -> None:
            self.deliverer.start()
            try:
                await work
            finally:
                await self.deliverer.stop()

        asyncio.run(all_of_it())


def test_a_job_that_waits_for_a_place_and_then_needs_none_gives_it_to_the_next() -> None:
    """One place at a host that fails; of three jobs that wait for it, the first was deleted meanwhile."""
    may_end = asyncio.Event()

    async def answer(_: str) -> Attempt:
        await may_end.wait()
        return Attempt(500)

    bench = Bench(answer)

    async def work() -> None:
        bench.deliverer._places.note("dead.example", is_failing=True)
        first = bench.add("https://dead.example/")
        bench.settle(first)
        await bench.until(lambda: len(bench.sent) == 1)
        gone, *others = [bench.add("https://dead.example/") for _ in range(3)]
        for count, job_id in enumerate((gone, *others), 1):
            bench.settle(job_id)
            await bench.until(lambda count=count: bench.waiting_for_a_place() == count)  # type: ignore[misc]
        bench.results.delete(webhook_key(gone))
        may_end.set()
        await bench.until(lambda: len(bench.sent) == 3)
        assert sorted(bench.sent_to("https://dead.example/")) == sorted([first, *others])

    bench.run(work())


def test_no_more_looks_go_on_at_once_than_stated_however_many_are_asked_for() -> None:
    may_end = asyncio.Event()

    async def answer(_: str) -> Attempt:
        await may_end.wait()
        return Attempt(200)

    bench = Bench(answer)

    async def work() -> None:
        for number in range(64):
            bench.settle(bench.add(f"https://{number}.example/"))
        await bench.until(lambda: bench.at_once == 64)
        for number in range(64, 80):
            bench.settle(bench.add(f"https://{number}.example/"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert len(bench.deliverer._tasks) == 64
        may_end.set()
        await bench.until(lambda: len(bench.sent) == 80)
        assert bench.most_at_once == 64

    bench.run(work())


def test_dead_receivers_that_fill_the_memory_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_KNOWN_MAX", 40)

    async def answer(url: str) -> Attempt:
        return Attempt(500 if "dead" in url else 200)

    bench = Bench(answer)

    async def work() -> None:
        dead = [bench.add(f"https://dead{number % 10}.example/") for number in range(60)]
        bench.settle(*dead)
        await asyncio.to_thread(bench.deliverer.tick)
        await bench.until(lambda: len(bench.sent) >= 40)
        await bench.idle()
        alive = bench.add("https://alive.example/")
        bench.deliverer.expect(alive)
        bench.settle(alive)
        bench.deliverer.not_accepted(alive)
        await bench.until(lambda: bench.sent_to("https://alive.example/") == [alive])
        assert bench.deliverer.waiting <= 40

    bench.run(work())


def test_a_clock_that_is_set_back_delays_no_delivery_beyond_the_longest_pause() -> None:
    bench = Bench()

    async def work() -> None:
        first, again = bench.add("https://alive.example/"), bench.add("https://alive.example/", attempts=1)
        bench.clock.advance(-1000 * HOUR_S)
        bench.settle(first, again)
        await bench.until(lambda: bench.sent_to("https://alive.example/") == [first])
        look = bench.deliverer._looks.get(again)
        assert look is not None
        await bench.until(lambda: not look.is_under_way)
        assert 0 < look.at_s - bench.deliverer._looks._clock.now_s() <= PAUSE_S_MAX

    bench.run(work())


def test_a_record_of_another_version_is_left_to_it() -> None:
    bench = Bench()

    async def work() -> None:
        job_id = bench.add("https://alive.example/")
        key = webhook_key(job_id)
        newer = json.loads(bench.results.get(key)) | {"of_tomorrow": 1}
        bench.results.put(key, json.dumps(newer).encode())
        bench.settle(job_id)
        await bench.until(lambda: bench.deliverer.waiting == 0)
        assert bench.results.get(key)

    bench.run(work())


def test_a_clock_that_is_set_back_does_not_end_the_scans() -> None:
    bench = Bench()
    records = WebhookRecords(bench.results, bench.clock)
    assert records.claim_scan(60.0)
    assert not records.claim_scan(60.0)
    bench.clock.advance(-24 * HOUR_S)
    assert records.claim_scan(60.0)


def test_an_outcome_does_not_wait_behind_the_records_of_a_scan() -> None:
    bench = Bench()

    async def work() -> None:
        for number in range(1000):
            bench.add(f"https://old{number}.example/")
        await asyncio.to_thread(bench.deliverer.tick)
        await bench.until(lambda: len(bench.sent) > 0)
        alive = bench.add("https://alive.example/")
        bench.settle(alive)
        await bench.until(lambda: bool(bench.sent_to("https://alive.example/")))
        assert len(bench.sent) < 1000

    bench.run(work())
