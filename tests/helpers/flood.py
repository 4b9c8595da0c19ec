"""A client that sends many images at once and does not wait for their outcomes."""

import threading
from collections.abc import Sequence
from typing import Self

from helpers.service import Reply, RunningService

__all__ = ["Flood"]


class Flood:
    """Sends images over several connections until the block ends; a refusal ends none of them.

    Args:
        service: To whom.
        images: Sent over and over again, in turns.
        connections: How many at once.
        headers: Of each request.
    """

    def __init__(
        self, service: RunningService, images: Sequence[bytes], *, connections: int, **headers: str
    ) -> None:
        self._service = service
        self._images = images
        self._headers = headers
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(connections)
        ]
        self.replies: list[Reply] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def await_replies(self, status: int, count: int) -> None:
        """Wait until so many requests were answered with a status."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count(status) >= count, 60), self.count(status)

    def count(self, status: int) -> int:
        return sum(reply.status == status for reply in self.replies)

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            reply = self._service.classify(self._images[number % len(self._images)], **self._headers)
            number += 1
            with self._changed:
                self.replies.append(reply)
                self._changed.notify_all()
