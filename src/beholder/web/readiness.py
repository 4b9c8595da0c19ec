"""Whether a web process can accept images: the answer to `GET /readyz`."""

import asyncio

from beholder.clock import Clock
from beholder.errors import BackendError, ObjectNotFound
from beholder.queue.port import Queue
from beholder.store.port import Store
from beholder.web.service_documents import Part

__all__ = ["Readiness"]


class Readiness:
    """Checks that the queue and both buckets answer, at most once per `every_s`; used from one event loop.

    Args:
        queue: The input queue.
        images: The input bucket.
        results: The output bucket.
        clock: The time.
        every_s: How long the result is kept; asking again may cost money.
    """

    def __init__(self, queue: Queue, images: Store, results: Store, clock: Clock, every_s: float) -> None:
        self._queue = queue
        self._buckets: tuple[tuple[Part, Store], ...] = (("input bucket", images), ("output bucket", results))
        self._clock = clock
        self.every_s = every_s
        self._is_draining = False
        self._asking = asyncio.Lock()
        self._asked_at_s: float | None = None
        self._found: list[tuple[Part, BackendError]] = []

    @property
    def is_draining(self) -> bool:
        """Whether the process will end, so that a load balancer should send it no more requests."""
        return self._is_draining

    def drain(self) -> None:
        """Answer from now on that the process will end."""
        self._is_draining = True

    async def is_ready(self) -> bool:
        """Return whether images can be accepted, and the process will not end."""
        return not self._is_draining and not await self.problems()

    async def problems(self) -> list[tuple[Part, BackendError]]:
        """Return the parts that do not answer, each with its error."""
        async with self._asking:  # requests that arrive meanwhile share the result
            now_s = self._clock.now_s()
            if self._asked_at_s is None or not 0 <= now_s - self._asked_at_s < self.every_s:
                self._found = await asyncio.to_thread(self._ask)
                self._asked_at_s = now_s
            return self._found

    def _ask(self) -> list[tuple[Part, BackendError]]:
        found: list[tuple[Part, BackendError]] = []
        try:
            self._queue.depth()
        except BackendError as exc:
            found.append(("input queue", exc))
        for part, bucket in self._buckets:
            try:
                bucket.get("readyz")
            except ObjectNotFound:
                continue
            except BackendError as exc:
                found.append((part, exc))
        return found
