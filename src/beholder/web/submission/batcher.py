"""Gathers the requests that arrive together, and submits them in batches.

Where buckets and queue are files of this machine, the event loop submits by itself: a small image takes less
time than two changes of thread. Requests whose bodies end in one turn of the loop share one send. What would
have to wait for a lock, or fails, a thread does anew, so that no other process can hold up the loop.

Other requests go to threads. A thread takes all waiting requests, up to a bound, and settles them with one
wake-up of the event loop. So a busy web process pays for one send and two changes of thread per batch, and in
an idle process a request does not wait. If a send costs money, a thread of a busy process also waits a few
milliseconds for more requests.
"""

import asyncio
import math
import queue
import threading
from collections.abc import Callable, Sequence

from beholder.clock import Clock, MonotonicClock
from beholder.errors import BackendError, BeholderError
from beholder.job import Job
from beholder.web.submission.request import Outcome, SubmissionRequest, Unsent

__all__ = ["Batcher"]

_MONOTONIC = MonotonicClock()
# A process is busy if the last batch is at most this many gathering times old; a single client is slower.
_BUSY_GATHERS = 10

_Submitted = Job | Outcome | Unsent | BeholderError
_Submit = Callable[[Sequence[tuple[str, SubmissionRequest | Unsent]]], list[_Submitted]]
_Waiting = tuple[str, SubmissionRequest | Unsent, asyncio.Future[Job | Outcome]]


class Batcher:
    """Runs `Submitter.submit`; used from one event loop.

    Args:
        submit: Submits a batch of requests, and blocks meanwhile.
        threads: Batches submitted at once.
        batch_max: Requests in one batch.
        gather_s: How long a batch waits for more requests if the last batch is recent.
        loop_bytes_max: Length of an image up to which the event loop submits it; -1 if it submits none.
        clock: Measures these durations.
    """

    def __init__(
        self,
        submit: _Submit,
        *,
        threads: int,
        batch_max: int,
        gather_s: float = 0.0,
        loop_bytes_max: int = -1,
        clock: Clock = _MONOTONIC,
    ) -> None:
        self._submit = submit
        self._batch_max = batch_max
        self._gather_s = gather_s
        self._loop_bytes_max = loop_bytes_max
        self._small: list[_Waiting] = []
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
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Job | Outcome] = loop.create_future()
        if len(request.data) > self._loop_bytes_max:
            self._requests.put((job_id, request, future))
        else:
            self._small.append((job_id, request, future))
            if len(self._small) == 1:
                loop.call_soon(self._submit_small)
        return await future

    def close(self) -> None:
        """Submit the requests that wait, and end the threads if they were started."""
        while self._small:
            self._submit_small()
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _submit_small(self) -> None:
        batch, self._small = self._small[: self._batch_max], self._small[self._batch_max :]
        if self._small:  # in the next turn of the loop, so that it also reads and answers meanwhile
            batch[0][-1].get_loop().call_soon(self._submit_small)
        for (job_id, request, future), result in zip(batch, self._results_of(batch), strict=True):
            if isinstance(result, Unsent):
                self._requests.put((job_id, result, future))
            elif isinstance(result, BackendError):
                self._requests.put((job_id, request, future))
            else:
                _settle([future], [result])

    def _run(self) -> None:
        while (batch := self._gathered()) is not None:
            results = self._results_of(batch)
            futures = [future for _, _, future in batch]
            futures[0].get_loop().call_soon_threadsafe(_settle, futures, results)
            # No variable may keep the images in memory while the thread waits for the next batch.
            del batch, futures, results

    def _results_of(self, batch: Sequence[_Waiting]) -> Sequence[_Submitted | BaseException]:
        try:
            return self._submit([(job_id, request) for job_id, request, _ in batch])
        except Exception as exc:  # noqa: BLE001 -- raised again in the waiting requests
            return [exc] * len(batch)

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
    futures: Sequence[asyncio.Future[Job | Outcome]], results: Sequence[_Submitted | BaseException]
) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # the client went away
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        elif not isinstance(result, Unsent):  # threads leave none
            future.set_result(result)
