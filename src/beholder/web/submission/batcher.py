"""Hands requests from the event loop to the threads that submit them, in batches under load.

A thread takes all waiting requests, up to a bound, and settles them with one wake-up of the event loop. So a
busy web process pays for one send and two changes of thread per batch, and in an idle process a request does
not wait. If a send costs money, a thread of a busy process also waits a few milliseconds for more requests.
"""

import asyncio
import math
import queue
import threading
from collections.abc import Callable, Sequence

from beholder.clock import Clock, MonotonicClock
from beholder.errors import BeholderError
from beholder.job import Job
from beholder.web.submission.request import Outcome, SubmissionRequest

__all__ = ["Batcher"]

_MONOTONIC = MonotonicClock()
# A process is busy if the last batch is at most this many gathering times old; a single client is slower.
_BUSY_GATHERS = 10

_Submit = Callable[[Sequence[tuple[str, SubmissionRequest]]], list[Job | Outcome | BeholderError]]
_Waiting = tuple[str, SubmissionRequest, asyncio.Future[Job | Outcome]]


class Batcher:
    """Runs `Submitter.submit` in threads; used from one event loop.

    Args:
        submit: Submits a batch of requests, and blocks meanwhile.
        threads: Batches submitted at once.
        batch_max: Requests in one batch.
        gather_s: How long a batch waits for more requests if the last batch is recent.
        clock: Measures these durations.
    """

    def __init__(
        self,
        submit: _Submit,
        *,
        threads: int,
        batch_max: int,
        gather_s: float = 0.0,
        clock: Clock = _MONOTONIC,
    ) -> None:
        self._submit = submit
        self._batch_max = batch_max
        self._gather_s = gather_s
        self._clock = clock
        self._last_s = -math.inf
        self._gathering = threading.Lock()
        self._requests: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"submit-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    async def submit(self, job_id: str, request: SubmissionRequest) -> Job | Outcome:
        """Return the new job, or the outcome of a finished one; raises the error of `Submitter.submit`."""
        future: asyncio.Future[Job | Outcome] = asyncio.get_running_loop().create_future()
        self._requests.put((job_id, request, future))
        return await future

    def close(self) -> None:
        """Submit the requests that wait, and end the threads if they were started."""
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self) -> None:
        while (batch := self._gathered()) is not None:
            requests = [(job_id, request) for job_id, request, _ in batch]
            results: Sequence[Job | Outcome | BaseException]
            try:
                results = self._submit(requests)
            except Exception as exc:  # noqa: BLE001 -- raised again in the waiting requests
                results = [exc] * len(batch)
            futures = [future for _, _, future in batch]
            futures[0].get_loop().call_soon_threadsafe(_settle, futures, results)
            # No variable may keep the images in memory while the thread waits for the next batch.
            del batch, requests, futures, results

    def _gathered(self) -> list[_Waiting] | None:
        with self._gathering:  # one thread at a time, or several would split one batch among them
            return self._next_batch()

    def _next_batch(self) -> list[_Waiting] | None:
        first = self._requests.get()
        if first is None:
            return None
        now_s = self._clock.now_s()
        is_busy = now_s - self._last_s < _BUSY_GATHERS * self._gather_s
        until_s = now_s + self._gather_s if is_busy else now_s
        batch = [first]
        while len(batch) < self._batch_max:
            left_s = until_s - self._clock.now_s()
            try:
                one = self._requests.get(timeout=left_s) if left_s > 0 else self._requests.get_nowait()
            except queue.Empty:
                break
            if one is None:
                self._requests.put(None)
                break
            batch.append(one)
        self._last_s = self._clock.now_s()
        return batch


def _settle(
    futures: Sequence[asyncio.Future[Job | Outcome]], results: Sequence[Job | Outcome | BaseException]
) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # the client went away
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
