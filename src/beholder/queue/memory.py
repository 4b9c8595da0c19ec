"""The queue inside one process: for unit tests and the simulator, with the same semantics as the others."""

import heapq
import itertools
import math
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from beholder.clock import Clock, SystemClock
from beholder.queue.bounds import check_receive, check_redrive, check_seconds
from beholder.queue.port import Depth, Queue, Received

__all__ = ["MemoryQueue"]

_SYSTEM_CLOCK = SystemClock()
# A waiting receive looks again after this long: nobody tells it when a manual clock is moved.
_RECHECK_S = 1.0


@dataclass(slots=True)
class _Message:
    body: bytes
    visible_at_s: float
    receive_count: int = 0
    token: str | None = None


class MemoryQueue:
    """A queue in memory; see the `Queue` port for its methods. What it holds ends with the process."""

    def __init__(
        self,
        *,
        visibility_timeout_s: float = 30.0,
        receive_count_max: int | None = None,
        dead_letters: Queue | None = None,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        """Make an empty queue.

        Args:
            visibility_timeout_s: Hidden time of a received message, where `receive` does not say.
            receive_count_max: Receives before a message moves to `dead_letters`; None for no limit.
            dead_letters: The dead-letter queue.
            clock: Tells when messages become visible; waiting goes by the machine's monotonic clock.

        Raises:
            ValueError: A number is out of range.
        """
        check_seconds("visibility_timeout_s", visibility_timeout_s)
        check_redrive(receive_count_max=receive_count_max, has_dead_letters=dead_letters is not None)
        self._visibility_timeout_s = visibility_timeout_s
        self._receive_count_max = receive_count_max
        self._dead_letters = dead_letters
        self._clock = clock
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._messages: dict[int, _Message] = {}
        # (visible_at_s, id) of every message, and older ones of messages that moved: those are skipped.
        self._order: list[tuple[float, int]] = []

    def send(self, bodies: Sequence[bytes], *, delay_s: float = 0.0) -> None:
        """Store every body as a message of its own; see `Queue.send`."""
        check_seconds("delay_s", delay_s)
        with self._changed:
            visible_at_s = self._clock.now_s() + delay_s
            for body in bodies:
                message_id = next(self._ids)
                self._messages[message_id] = _Message(bytes(body), visible_at_s)
                heapq.heappush(self._order, (visible_at_s, message_id))
            self._changed.notify(len(bodies))

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` visible messages, oldest first, and hide them; see `Queue.receive`."""
        check_receive(count_max=count_max, wait_s=wait_s)
        timeout_s = self._visibility_timeout_s if visibility_timeout_s is None else visibility_timeout_s
        check_seconds("visibility_timeout_s", timeout_s)
        wait_until_s = time.monotonic() + wait_s
        with self._changed:
            while True:
                taken = self._take(count_max, timeout_s)
                left_s = wait_until_s - time.monotonic()
                if taken or left_s <= 0:
                    return taken
                self._changed.wait(min(left_s, self._due_in_s(), _RECHECK_S))

    def extend(self, receipts: Sequence[str], *, timeout_s: float) -> list[str]:
        """Hide messages for `timeout_s` more seconds, counted from this call; see `Queue.extend`."""
        check_seconds("timeout_s", timeout_s)
        with self._changed:
            now_s = self._clock.now_s()
            lost = []
            for receipt in receipts:
                message_id, message = self._find(receipt)
                if message is None or message.visible_at_s <= now_s:
                    lost.append(receipt)
                else:
                    self._show_at(message_id, message, now_s + timeout_s)
            self._changed.notify()
            return lost

    def ack(self, receipts: Sequence[str]) -> None:
        """Delete messages for good; see `Queue.ack`."""
        with self._changed:
            for receipt in receipts:
                message_id, message = self._find(receipt)
                if message is not None:
                    del self._messages[message_id]

    def nack(self, receipts: Sequence[str]) -> None:
        """Make messages visible now; see `Queue.nack`."""
        with self._changed:
            now_s = self._clock.now_s()
            for receipt in receipts:
                message_id, message = self._find(receipt)
                if message is not None and message.visible_at_s > now_s:
                    message.token = None
                    self._show_at(message_id, message, now_s)
            self._changed.notify(len(receipts))

    def depth(self) -> Depth:
        """Return the number of messages; see `Queue.depth`."""
        with self._changed:
            now_s = self._clock.now_s()
            hidden = [message for message in self._messages.values() if message.visible_at_s > now_s]
            in_flight = sum(message.token is not None for message in hidden)
            return Depth(len(self._messages) - len(hidden), in_flight, len(hidden) - in_flight)

    def purge(self) -> None:
        """Delete every message, those in flight too."""
        with self._changed:
            self._messages.clear()
            self._order.clear()

    def _take(self, count_max: int, timeout_s: float) -> list[Received]:
        now_s = self._clock.now_s()
        taken: list[tuple[int, _Message]] = []
        dead: list[tuple[int, _Message]] = []
        while len(taken) < count_max and self._due_in_s() <= 0:
            _, message_id = heapq.heappop(self._order)
            message = self._messages[message_id]
            message.visible_at_s = math.inf  # not met again if it stands in the order twice
            limit = self._receive_count_max
            is_exhausted = limit is not None and message.receive_count >= limit
            (dead if is_exhausted else taken).append((message_id, message))
        received = []
        for message_id, message in taken:
            message.receive_count += 1
            message.token = secrets.token_hex(8)
            self._show_at(message_id, message, now_s + timeout_s)
            received.append(Received(message.body, f"{message_id}-{message.token}", message.receive_count))
        self._bury(dead, now_s)
        if self._due_in_s() <= 0:  # the notice that woke this receiver may have stood for several messages
            self._changed.notify()
        return received

    def _bury(self, dead: Sequence[tuple[int, _Message]], now_s: float) -> None:
        for message_id, message in dead:  # visible again first, in case the dead-letter queue refuses
            self._show_at(message_id, message, now_s)
        for message_id, message in dead:
            assert self._dead_letters is not None, "checked by the constructor"  # noqa: S101 -- our own bug
            self._dead_letters.send([message.body])
            del self._messages[message_id]

    def _due_in_s(self) -> float:
        """Return in how many seconds a message is visible, infinity when there is none."""
        while self._order:
            visible_at_s, message_id = self._order[0]
            message = self._messages.get(message_id)
            if message is not None and message.visible_at_s == visible_at_s:
                return visible_at_s - self._clock.now_s()
            heapq.heappop(self._order)
        return math.inf

    def _show_at(self, message_id: int, message: _Message, visible_at_s: float) -> None:
        message.visible_at_s = visible_at_s
        heapq.heappush(self._order, (visible_at_s, message_id))

    def _find(self, receipt: str) -> tuple[int, _Message | None]:
        message_id, _, token = receipt.partition("-")
        message = self._messages.get(int(message_id)) if message_id.isdecimal() else None
        return (int(message_id), message) if message and message.token == token else (0, None)
