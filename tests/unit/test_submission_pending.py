"""Who waits for which job: waking them, giving up, and looking for late results."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from beholder.errors import Overloaded
from beholder.job import Job, JobStatus
from beholder.web.submission.pending import Outcome, PendingReplies


def outcome(job_id: str) -> Outcome:
    return Outcome(Job(job_id, JobStatus.SUCCEEDED, 0.0), b"{}")


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


@in_loop
async def test_a_reply_wakes_who_waits_for_it_and_nobody_else() -> None:
    pending_replies = PendingReplies(10)
    wanted, other = pending_replies.expect("a", 0.0), pending_replies.expect("b", 0.0)
    answer = outcome("a")
    pending_replies.settle([answer])
    assert await wanted is answer
    assert not other.done()
    assert len(pending_replies) == 1


@in_loop
async def test_two_who_wait_for_the_same_job_are_both_woken() -> None:
    pending_replies = PendingReplies(10)
    futures = [pending_replies.expect("a", 0.0) for _ in range(2)]
    assert len(pending_replies) == 2
    pending_replies.settle([outcome("a")])
    assert [(await future).job.id for future in futures] == ["a", "a"]
    assert len(pending_replies) == 0


@in_loop
async def test_who_gives_up_leaves_the_other_waiting() -> None:
    pending_replies = PendingReplies(10)
    impatient, patient = pending_replies.expect("a", 0.0), pending_replies.expect("a", 0.0)
    pending_replies.forget("a", impatient)
    assert len(pending_replies) == 1
    pending_replies.settle([outcome("a")])
    assert patient.done()
    assert not impatient.done()


@in_loop
async def test_forgetting_twice_or_what_was_settled_counts_once() -> None:
    pending_replies = PendingReplies(10)
    future = pending_replies.expect("a", 0.0)
    pending_replies.settle([outcome("a")])
    pending_replies.forget("a", future)
    pending_replies.forget("never", future)
    again = pending_replies.expect("a", 0.0)
    pending_replies.forget("a", again)
    pending_replies.forget("a", again)
    assert len(pending_replies) == 0
    assert pending_replies.due(1e9, count_max=10) == []


@in_loop
async def test_a_reply_for_nobody_is_harmless_and_so_is_a_second_one() -> None:
    pending_replies = PendingReplies(10)
    pending_replies.settle([outcome("nobody")])
    future = pending_replies.expect("a", 0.0)
    pending_replies.settle([outcome("a"), outcome("a")])
    pending_replies.settle([outcome("a")])
    assert future.done()
    assert len(pending_replies) == 0


@in_loop
async def test_a_reply_after_its_waiter_was_cancelled_is_harmless() -> None:
    pending_replies = PendingReplies(10)
    gone, there = pending_replies.expect("a", 0.0), pending_replies.expect("a", 0.0)
    gone.cancel()
    pending_replies.settle([outcome("a")])
    assert there.done()


@in_loop
async def test_no_more_wait_than_may() -> None:
    pending_replies = PendingReplies(2)
    pending_replies.expect("a", 0.0)
    future = pending_replies.expect("a", 0.0)
    with pytest.raises(Overloaded, match="2 requests wait"):
        pending_replies.expect("b", 0.0)
    pending_replies.forget("a", future)
    pending_replies.expect("b", 0.0)


@in_loop
async def test_a_late_result_is_looked_for_less_and_less_often() -> None:
    # given
    pending_replies = PendingReplies(10)
    pending_replies.expect("a", 100.0)
    # when
    looks = [now_s for now_s in range(100, 300) if pending_replies.due(float(now_s), count_max=10)]
    # then
    assert looks == [102, 106, 114, 130, 160, 190, 220, 250, 280]


@in_loop
async def test_one_pass_looks_for_so_many_and_the_next_goes_on() -> None:
    pending_replies = PendingReplies(10)
    for job_id in "abcde":
        pending_replies.expect(job_id, 0.0)
    assert pending_replies.due(1.9, count_max=2) == []
    assert pending_replies.due(2.0, count_max=2) == ["a", "b"]
    assert pending_replies.due(2.5, count_max=2) == ["c", "d"]
    assert pending_replies.due(3.0, count_max=2) == ["e"]


@in_loop
async def test_a_job_comes_up_once_however_many_wait_for_it() -> None:
    pending_replies = PendingReplies(10)
    first = pending_replies.expect("a", 0.0)
    pending_replies.expect("a", 1.0)
    assert pending_replies.due(2.0, count_max=10) == ["a"]
    # and the second is looked for on its own when the first gave up
    pending_replies.forget("a", first)
    assert pending_replies.due(3.0, count_max=10) == ["a"]
