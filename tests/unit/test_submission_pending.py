"""Who waits for which job: waking them, giving up, and looking for late results."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from beholder.clock import Clock, ManualClock
from beholder.errors import Overloaded
from beholder.job import Job, JobStatus
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome
from helpers.web import memory_lookup


def outcome(job_id: str) -> Outcome:
    return Outcome(Job(job_id, JobStatus.SUCCEEDED, 0.0), b"{}")


def pending(count_max: int = 10, clock: Clock | None = None) -> PendingReplies:
    return PendingReplies(count_max, memory_lookup(), clock or ManualClock())


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


@in_loop
async def test_a_reply_wakes_only_the_requests_that_wait_for_it() -> None:
    pending_replies = pending()
    wanted, other = pending_replies.expect("a"), pending_replies.expect("b")
    answer = outcome("a")
    pending_replies.settle([answer])
    assert await wanted is answer
    assert not other.done()
    assert len(pending_replies) == 1


@in_loop
async def test_two_who_wait_for_the_same_job_are_both_woken() -> None:
    pending_replies = pending()
    futures = [pending_replies.expect("a") for _ in range(2)]
    assert len(pending_replies) == 2
    pending_replies.settle([outcome("a")])
    assert [(await future).job.id for future in futures] == ["a", "a"]
    assert len(pending_replies) == 0


@in_loop
async def test_who_gives_up_leaves_the_other_waiting() -> None:
    pending_replies = pending()
    impatient, patient = pending_replies.expect("a"), pending_replies.expect("a")
    pending_replies.forget("a", impatient)
    assert len(pending_replies) == 1
    pending_replies.settle([outcome("a")])
    assert patient.done()
    assert not impatient.done()


@in_loop
async def test_forgetting_twice_or_what_was_settled_counts_once() -> None:
    clock = ManualClock()
    pending_replies = pending(clock=clock)
    future = pending_replies.expect("a")
    pending_replies.settle([outcome("a")])
    pending_replies.forget("a", future)
    pending_replies.forget("never", future)
    again = pending_replies.expect("a")
    pending_replies.forget("a", again)
    pending_replies.forget("a", again)
    assert len(pending_replies) == 0
    clock.advance(1e9)
    assert pending_replies.due(count_max=10) == []


@in_loop
async def test_a_reply_that_no_request_awaits_is_harmless_and_so_is_a_second_reply() -> None:
    pending_replies = pending()
    pending_replies.settle([outcome("nobody")])
    future = pending_replies.expect("a")
    pending_replies.settle([outcome("a"), outcome("a")])
    pending_replies.settle([outcome("a")])
    assert future.done()
    assert len(pending_replies) == 0


@in_loop
async def test_a_reply_after_its_waiter_was_cancelled_is_harmless() -> None:
    pending_replies = pending()
    gone, there = pending_replies.expect("a"), pending_replies.expect("a")
    gone.cancel()
    pending_replies.settle([outcome("a")])
    assert there.done()


@in_loop
async def test_no_more_wait_than_may() -> None:
    pending_replies = pending(2)
    pending_replies.expect("a")
    future = pending_replies.expect("a")
    with pytest.raises(Overloaded, match="2 requests wait"):
        pending_replies.expect("b")
    pending_replies.forget("a", future)
    pending_replies.expect("b")


@in_loop
async def test_a_late_result_is_looked_for_less_and_less_often() -> None:
    # given
    clock = ManualClock(100.0)
    pending_replies = pending(clock=clock)
    pending_replies.expect("a")
    # when
    lookups = []
    for now_s in range(100, 300):
        if pending_replies.due(count_max=10):
            lookups.append(now_s)
        clock.advance(1)
    # then
    assert lookups == [102, 106, 114, 130, 160, 190, 220, 250, 280]


@in_loop
async def test_one_sweep_looks_up_so_many_jobs_and_the_next_continues() -> None:
    clock = ManualClock()
    pending_replies = pending(clock=clock)
    for job_id in "abcde":
        pending_replies.expect(job_id)
    clock.advance(1.9)
    assert pending_replies.due(count_max=2) == []
    clock.advance(0.1)
    assert pending_replies.due(count_max=2) == ["a", "b"]
    clock.advance(0.5)
    assert pending_replies.due(count_max=2) == ["c", "d"]
    clock.advance(0.5)
    assert pending_replies.due(count_max=2) == ["e"]


@in_loop
async def test_a_job_is_due_once_however_many_requests_wait_for_it() -> None:
    clock = ManualClock()
    pending_replies = pending(clock=clock)
    first = pending_replies.expect("a")
    clock.advance(1)
    pending_replies.expect("a")
    clock.advance(1)
    assert pending_replies.due(count_max=10) == ["a"]
    # and the second is looked for by itself when the first gave up
    pending_replies.forget("a", first)
    clock.advance(1)
    assert pending_replies.due(count_max=10) == ["a"]
