"""Who waits for which job: waking them, giving up, and looking for late results."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from beholder.errors import Overloaded
from beholder.job import Job, JobStatus
from beholder.web.waiters import Outcome, Waiters


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
    waiters = Waiters(10)
    wanted, other = waiters.expect("a", 0.0), waiters.expect("b", 0.0)
    answer = outcome("a")
    waiters.settle([answer])
    assert await wanted is answer
    assert not other.done()
    assert len(waiters) == 1


@in_loop
async def test_two_who_wait_for_the_same_job_are_both_woken() -> None:
    waiters = Waiters(10)
    futures = [waiters.expect("a", 0.0) for _ in range(2)]
    assert len(waiters) == 2
    waiters.settle([outcome("a")])
    assert [(await future).job.id for future in futures] == ["a", "a"]
    assert len(waiters) == 0


@in_loop
async def test_who_gives_up_leaves_the_other_waiting() -> None:
    waiters = Waiters(10)
    impatient, patient = waiters.expect("a", 0.0), waiters.expect("a", 0.0)
    waiters.forget("a", impatient)
    assert len(waiters) == 1
    waiters.settle([outcome("a")])
    assert patient.done()
    assert not impatient.done()


@in_loop
async def test_forgetting_twice_or_what_was_settled_counts_once() -> None:
    waiters = Waiters(10)
    future = waiters.expect("a", 0.0)
    waiters.settle([outcome("a")])
    waiters.forget("a", future)
    waiters.forget("never", future)
    again = waiters.expect("a", 0.0)
    waiters.forget("a", again)
    waiters.forget("a", again)
    assert len(waiters) == 0
    assert waiters.due(1e9, count_max=10) == []


@in_loop
async def test_a_reply_for_nobody_is_harmless_and_so_is_a_second_one() -> None:
    waiters = Waiters(10)
    waiters.settle([outcome("nobody")])
    future = waiters.expect("a", 0.0)
    waiters.settle([outcome("a"), outcome("a")])
    waiters.settle([outcome("a")])
    assert future.done()
    assert len(waiters) == 0


@in_loop
async def test_a_reply_after_its_waiter_was_cancelled_is_harmless() -> None:
    waiters = Waiters(10)
    gone, there = waiters.expect("a", 0.0), waiters.expect("a", 0.0)
    gone.cancel()
    waiters.settle([outcome("a")])
    assert there.done()


@in_loop
async def test_no_more_wait_than_may() -> None:
    waiters = Waiters(2)
    waiters.expect("a", 0.0)
    future = waiters.expect("a", 0.0)
    with pytest.raises(Overloaded, match="2 requests wait"):
        waiters.expect("b", 0.0)
    waiters.forget("a", future)
    waiters.expect("b", 0.0)


@in_loop
async def test_a_late_result_is_looked_for_less_and_less_often() -> None:
    # given
    waiters = Waiters(10)
    waiters.expect("a", 100.0)
    # when
    looks = [now_s for now_s in range(100, 300) if waiters.due(float(now_s), count_max=10)]
    # then
    assert looks == [102, 106, 114, 130, 160, 190, 220, 250, 280]


@in_loop
async def test_one_pass_looks_for_so_many_and_the_next_goes_on() -> None:
    waiters = Waiters(10)
    for job_id in "abcde":
        waiters.expect(job_id, 0.0)
    assert waiters.due(1.9, count_max=2) == []
    assert waiters.due(2.0, count_max=2) == ["a", "b"]
    assert waiters.due(2.5, count_max=2) == ["c", "d"]
    assert waiters.due(3.0, count_max=2) == ["e"]


@in_loop
async def test_a_job_comes_up_once_however_many_wait_for_it() -> None:
    waiters = Waiters(10)
    first = waiters.expect("a", 0.0)
    waiters.expect("a", 1.0)
    assert waiters.due(2.0, count_max=10) == ["a"]
    # and the second is looked for on its own when the first gave up
    waiters.forget("a", first)
    assert waiters.due(3.0, count_max=10) == ["a"]
