"""Orders on their way from the event loop to the threads that store them."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from beholder.errors import BackendFull, BackendUnavailable, BeholderError
from beholder.job import Job, JobInput, JobStatus, Message, Options
from beholder.queue.port import Priority
from beholder.web.submission.batcher import Batcher
from beholder.web.submission.request import Outcome, SubmissionRequest, Unsent

WAIT_S = 10.0
Batch = Sequence[tuple[str, SubmissionRequest]]


class Data:
    """Stands for an image's bytes, which cannot be watched: whether anything still holds it."""

    def __len__(self) -> int:
        return 1


def submission(data: Any = b"x") -> SubmissionRequest:
    return SubmissionRequest(data, "a.jpg", Options())


class Shop:
    """Stores batches when its door is open, and writes them down."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[str] = []
        self.entered = threading.Event()
        self.door = threading.Event()
        self.failure: Exception | None = None

    def accept(self, batch: Batch) -> list[Job | Outcome | BeholderError]:
        self.entered.set()
        assert self.door.wait(WAIT_S)
        self.batches.append([job_id for job_id, _ in batch])
        self.threads.append(threading.current_thread().name)
        if self.failure is not None:
            raise self.failure
        return [
            BackendFull("folder store", "put") if job_id == "full" else Job(job_id, JobStatus.QUEUED, 0.0)
            for job_id, _ in batch
        ]


def with_batcher(
    shop: Shop, scenario: Callable[[Batcher], Awaitable[None]], *, loop_bytes_max: int = -1
) -> None:
    async def run() -> None:
        batcher = Batcher(shop.accept, threads=1, batch_max=3, loop_bytes_max=loop_bytes_max)
        batcher.start()
        try:
            await scenario(batcher)
        finally:
            shop.door.set()
            batcher.close()

    asyncio.run(run())


def accepting(batcher: Batcher, *job_ids: str) -> list[asyncio.Task[Job | Outcome]]:
    return [asyncio.create_task(batcher.submit(job_id, submission())) for job_id in job_ids]


def test_what_waits_while_a_batch_is_stored_is_the_next_batch_up_to_a_bound() -> None:
    shop = Shop()

    async def scenario(batcher: Batcher) -> None:
        first = accepting(batcher, "a")
        await asyncio.to_thread(shop.entered.wait, WAIT_S)
        rest = accepting(batcher, "b", "c", "d", "e")
        await asyncio.sleep(0)
        shop.door.set()
        jobs = await asyncio.gather(*first, *rest)
        assert [job.id for job in jobs if isinstance(job, Job)] == ["a", "b", "c", "d", "e"]

    with_batcher(shop, scenario)
    assert shop.batches == [["a"], ["b", "c", "d"], ["e"]]


def test_each_request_gets_its_own_error() -> None:
    shop = Shop()
    shop.door.set()

    async def scenario(batcher: Batcher) -> None:
        good, full, other = await asyncio.gather(
            *accepting(batcher, "a", "full", "b"), return_exceptions=True
        )
        assert isinstance(good, Job)
        assert isinstance(full, BackendFull)
        assert isinstance(other, Job)

    with_batcher(shop, scenario)


def test_an_error_of_the_whole_batch_reaches_everybody_and_the_next_is_stored() -> None:
    shop = Shop()
    shop.door.set()
    shop.failure = ZeroDivisionError("our own bug")

    async def scenario(batcher: Batcher) -> None:
        errors = await asyncio.gather(*accepting(batcher, "a", "b"), return_exceptions=True)
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2
        shop.failure = None
        (after,) = await asyncio.gather(*accepting(batcher, "c"))
        assert isinstance(after, Job)

    with_batcher(shop, scenario)


def test_a_client_that_went_away_does_not_disturb_the_others_of_its_batch() -> None:
    shop = Shop()

    async def scenario(batcher: Batcher) -> None:
        gone, there = accepting(batcher, "a", "b")
        await asyncio.to_thread(shop.entered.wait, WAIT_S)
        gone.cancel()
        shop.door.set()
        assert isinstance(await there, Job)
        with pytest.raises(asyncio.CancelledError):
            await gone

    with_batcher(shop, scenario)


def test_a_busy_batcher_waits_for_more_requests_and_an_idle_batcher_does_not() -> None:
    shop = Shop()
    shop.door.set()

    async def scenario() -> None:
        batcher = Batcher(shop.accept, threads=1, batch_max=3, gather_s=WAIT_S)
        batcher.start()
        # given: after silence, the first one goes alone and at once
        await asyncio.gather(*accepting(batcher, "a"))
        # when: another comes a moment later, and two more while it waits
        second = accepting(batcher, "b")
        await asyncio.sleep(0)
        await asyncio.gather(*second, *accepting(batcher, "c", "d"))
        batcher.close()

    asyncio.run(scenario())
    assert shop.batches == [["a"], ["b", "c", "d"]]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_close_finishes_what_waits(threads: int) -> None:
    shop = Shop()
    job_ids = [f"job-{number}" for number in range(20)]

    async def scenario() -> None:
        batcher = Batcher(shop.accept, threads=threads, batch_max=3)
        batcher.start()
        waiting = accepting(batcher, *job_ids)
        await asyncio.sleep(0)
        shop.door.set()
        batcher.close()
        assert len(await asyncio.gather(*waiting)) == 20

    asyncio.run(scenario())
    assert sorted(job_id for batch in shop.batches for job_id in batch) == sorted(job_ids)


def test_a_close_before_the_start_is_no_error() -> None:
    Batcher(Shop().accept, threads=2, batch_max=3).close()


def test_the_event_loop_submits_small_images_by_itself_and_those_of_one_turn_together() -> None:
    shop = Shop()
    shop.door.set()

    async def scenario(batcher: Batcher) -> None:
        await asyncio.gather(*accepting(batcher, "a", "b", "c", "d"))
        await asyncio.gather(*accepting(batcher, "e"), batcher.submit("large", submission(b"xx")))

    with_batcher(shop, scenario, loop_bytes_max=1)
    assert shop.batches[:2] == [["a", "b", "c"], ["d"]]
    assert sorted(zip(shop.batches[2:], shop.threads[2:], strict=True)) == [
        (["e"], "MainThread"),
        (["large"], "submit-0"),
    ]


def test_a_close_finishes_what_the_event_loop_has_not_begun() -> None:
    shop = Shop()
    shop.door.set()

    async def scenario() -> None:
        batcher = Batcher(shop.accept, threads=1, batch_max=3, loop_bytes_max=1)
        batcher.start()
        waiting = accepting(batcher, "a", "b", "c", "d")
        await asyncio.sleep(0)
        batcher.close()
        assert shop.batches == [["a", "b", "c"], ["d"]]
        assert len(await asyncio.gather(*waiting)) == 4

    asyncio.run(scenario())


@pytest.mark.parametrize("loop_bytes_max", [-1, 1])
def test_no_image_is_kept_in_memory_once_it_is_stored(loop_bytes_max: int) -> None:
    shop = Shop()
    shop.door.set()

    async def scenario(batcher: Batcher) -> None:
        data = Data()
        kept = weakref.ref(data)
        await batcher.submit("a", submission(data))
        del data
        # the thread lets go right after it has told the loop; a second order shows that it has
        await batcher.submit("b", submission())
        gc.collect()
        assert kept() is None

    with_batcher(shop, scenario, loop_bytes_max=loop_bytes_max)


def test_what_the_loop_cannot_do_at_once_a_thread_does_and_the_rest_is_answered_before() -> None:
    """Of an image that is stored, its message alone goes to the thread; of one that is not, all."""
    seen: list[tuple[str, list[tuple[str, bool]]]] = []
    unsent = Unsent(Message("b", 1.0, JobInput("images/b/a.jpg", "a.jpg", 1)), Priority.INTERACTIVE, None)
    first: dict[str, BeholderError | Unsent] = {"a": BackendUnavailable("folder store", "put"), "b": unsent}
    free = threading.Event()

    def accept(
        batch: Sequence[tuple[str, SubmissionRequest | Unsent]],
    ) -> list[Job | Outcome | Unsent | BeholderError]:
        seen.append((threading.current_thread().name, [(name, one is unsent) for name, one in batch]))
        if len(seen) == 1:
            return [first.get(name, Job(name, JobStatus.QUEUED, 0.0)) for name, _ in batch]
        assert free.wait(WAIT_S)
        return [Job(name, JobStatus.QUEUED, 0.0) for name, _ in batch]

    async def run() -> None:
        batcher = Batcher(accept, threads=1, batch_max=3, loop_bytes_max=1)
        batcher.start()
        try:
            late = [asyncio.create_task(batcher.submit(name, submission())) for name in "ab"]
            await batcher.submit("c", submission())
            assert not any(one.done() for one in late)
            free.set()
            await asyncio.gather(*late)
        finally:
            free.set()
            batcher.close()

    asyncio.run(run())
    (_, in_loop), *others = seen
    assert in_loop == [("c", False), ("a", False), ("b", False)]
    assert [one for _, batch in others for one in batch] == [("a", False), ("b", True)]
    assert {thread for thread, _ in others} == {"submit-0"}
