"""Replies on their way to the requests that wait: what is counted, acked, and put aside."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.job import Job, JobStatus, Metrics, read_outcome
from beholder.job.job import Result
from beholder.job.reply import Reply
from beholder.queue.memory import MemoryQueue
from beholder.queue.reply_socket import ReplySender, ReplySocket
from beholder.runner import Runner
from beholder.telemetry.metrics import Telemetry
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.reply_sources import PolledReplies, ReplySource, SocketReplies
from beholder.web.submission.request import Outcome
from beholder.web.submission.worker_replies import ReplyReader
from helpers.web import memory_lookup

METRICS = Metrics(1.0, 2.0, 3.0, 4.0, 1, 1)


def document(job_id: str, status: JobStatus = JobStatus.SUCCEEDED) -> bytes:
    return json.dumps(
        Job(job_id, status, 1.0, completed_at_s=2.0, metrics=METRICS, result=Result(())).to_dict()
    ).encode()


def reply(*documents: bytes) -> bytes:
    return Reply(documents, {"sqs:SendMessageBatch": 2}).to_bytes()


def reader_of(telemetry: Telemetry) -> ReplyReader:
    return ReplyReader(PendingReplies(1, memory_lookup(), ManualClock()), telemetry)


GARBAGE = {
    "empty": b"",
    "no text": b"\xff",
    "no object": b"[]",
    "another object": b"{}",
    "too deep": b"[" * 100_000,
    "a job without an outcome": document("a", JobStatus.QUEUED),
    "a job without an id": document("a").replace(b'"id": "a"', b'"id": []'),
    "an unknown state": document("a").replace(b"succeeded", b"done"),
}


def settled(
    bodies: Sequence[bytes], waiting: Sequence[str]
) -> tuple[dict[str, Outcome], MemoryQueue, Telemetry]:
    """Let a listener take replies; return what those who wait then hold."""
    queue, telemetry = MemoryQueue(clock=ManualClock()), Telemetry()

    async def scenario() -> dict[str, Outcome]:
        pending_replies = PendingReplies(10, memory_lookup(), ManualClock())
        futures = {job_id: pending_replies.expect(job_id) for job_id in waiting}
        reader = ReplyReader(pending_replies, telemetry)
        source = PolledReplies(queue, wait_s=0.0)
        queue.send(bodies)
        while queue.depth().backlog:
            assert source.tick(reader.take) == 0.0
        source.tick(reader.take)  # one that finds nothing more
        return {job_id: future.result() for job_id, future in futures.items() if future.done()}

    return asyncio.run(scenario()), queue, telemetry


def test_a_reply_wakes_its_waiters_with_the_documents_as_they_are() -> None:
    found, queue, _ = settled([reply(document("a"), document("nobody"))], ["a", "b"])
    assert set(found) == {"a"}
    assert found["a"].document == document("a")
    assert (queue.depth().backlog, queue.depth().in_flight) == (0, 0)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_put_aside_and_what_came_with_it_arrives(garbage: bytes) -> None:
    found, queue, _ = settled([reply(document("a"), garbage, document("b")), garbage], ["a", "b"])
    assert set(found) == {"a", "b"}
    assert (queue.depth().backlog, queue.depth().in_flight) == (0, 0)


def test_every_reply_is_counted_whether_or_not_a_request_waits() -> None:
    bodies = [reply(document("a"), document("b")), reply(document("c", JobStatus.FAILED)), b"garbage"]
    _, _, telemetry = settled(bodies, ["a"])
    count = telemetry.registry.get_sample_value
    assert count("beholder_jobs_total", {"state": "succeeded"}) == 2
    assert count("beholder_jobs_total", {"state": "failed"}) == 1
    assert count("beholder_job_latency_seconds_count") == 3
    labels = {"process": "worker", "service": "sqs", "operation": "SendMessageBatch"}
    assert count("beholder_aws_calls_total", labels) == 4


def test_more_replies_than_one_pass_receives_all_arrive() -> None:
    names = [f"job-{number}" for number in range(25)]
    found, _, _ = settled([reply(document(name)) for name in names], names[:10])
    assert set(found) == set(names[:10])


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_outcome_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a job|has no outcome|is not a valid|Expecting value|codec"):
        read_outcome(garbage)


def test_a_reply_is_acked_before_it_becomes_visible_even_if_replies_never_pause() -> None:
    """One a second: never a pass without a reply, and never fifty of them within its hidden time."""
    clock = ManualClock()
    queue, telemetry = MemoryQueue(visibility_timeout_s=30.0, clock=clock), Telemetry()
    reader, source = reader_of(telemetry), PolledReplies(queue, wait_s=0.0)
    for number in range(100):
        queue.send([reply(document(f"job-{number}"))])
        source.tick(reader.take)
        clock.advance(1)
    assert telemetry.registry.get_sample_value("beholder_jobs_total", {"state": "succeeded"}) == 100


def test_under_load_many_replies_share_one_ack() -> None:
    queue = AckCounter(clock=ManualClock())
    reader, source = reader_of(Telemetry()), PolledReplies(queue, wait_s=0.0)
    queue.send([reply(document(f"job-{number}")) for number in range(100)])
    for _ in range(10):
        source.tick(reader.take)
    assert queue.acked == [50, 50]


def test_an_ack_that_fails_is_made_up_for() -> None:
    queue, telemetry = AckCounter(clock=ManualClock()), Telemetry()
    reader, source = reader_of(telemetry), PolledReplies(queue, wait_s=0.0)
    queue.send([reply(document("a"))])
    source.tick(reader.take)
    queue.is_failing = True
    with pytest.raises(BackendUnavailable):
        source.tick(reader.take)
    queue.is_failing = False
    source.tick(reader.take)
    assert queue.acked == [1]
    assert telemetry.registry.get_sample_value("beholder_jobs_total", {"state": "succeeded"}) == 1


@pytest.mark.parametrize("kind", ["queue", "socket"])
def test_the_event_loop_gets_what_is_sent_from_a_thread(kind: str, tmp_path: Path) -> None:
    taken: list[bytes] = []
    queue = MemoryQueue()

    async def scenario(source: ReplySource, send: Callable[[Sequence[bytes]], None]) -> None:
        loop, runner, all_there = asyncio.get_running_loop(), Runner(), asyncio.Event()

        def take(bodies: Sequence[bytes]) -> None:
            assert asyncio.get_running_loop() is loop
            taken.extend(bodies)
            if len(taken) == 30:
                all_there.set()

        source.listen(take, runner)
        for number in range(30):  # more than the kernel keeps for a socket
            await asyncio.to_thread(send, [b"%d" % number])
        await asyncio.wait_for(all_there.wait(), 60)
        await asyncio.to_thread(runner.stop)

    if kind == "queue":
        asyncio.run(scenario(PolledReplies(queue, wait_s=0.01), queue.send))
    else:
        with closing(ReplySocket(tmp_path, "web-0")) as socket:
            asyncio.run(scenario(SocketReplies(socket), ReplySender(tmp_path, "web-0").send))
    assert taken == [b"%d" % number for number in range(30)]


class AckCounter(MemoryQueue):
    """A queue that writes down how many receipts came with each ack."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.acked: list[int] = []
        self.is_failing = False

    def ack(self, receipts: Sequence[str]) -> None:
        if self.is_failing:
            raise BackendUnavailable("sqlite queue", "ack")
        self.acked.append(len(receipts))
        super().ack(receipts)
