"""The queue inside one process, for unit tests, with the semantics of the other adapters."""

import heapq
import itertools
import math
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from beholder.clock import Clock, SystemClock
from beholder.queue.bounds import check_heavy, check_receive, check_redrive, check_seconds
from beholder.queue.port import Depth, Priority, Queue, Received
from beholder.queue.round_robin import HEAVY, LIGHT, PRIORITIES, WeightedRoundRobin

__all__ = ["MemoryQueue"]

_SYSTEM_CLOCK = SystemClock()
# A waiting receive looks again after this long, because nothing notifies it of a manual clock that moves.
_RECHECK_S = 1.0


@dataclass(slots=True)
class _Message:
    body: bytes
    visible_at_s: float
    priority: Priority
    receive_count: int = 0
    token: str | None = None


class MemoryQueue:
    """A queue in memory; see the `Queue` port for its methods. Its messages end with the process.

    Args:
        visibility_timeout_s: Hidden time of a received message, unless `receive` is given another.
        receive_count_max: Receives before a message moves to `dead_letters`; None for no limit.
        dead_letters: The dead-letter queue.
        heavy_in_flight_max: Heavy messages in flight at once; None for no limit.
        clock: Decides when messages become visible; waiting goes by the machine's monotonic clock.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        visibility_timeout_s: float = 30.0,
        receive_count_max: int | None = None,
        dead_letters: Queue | None = None,
        heavy_in_flight_max: int | None = None,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        check_seconds("visibility_timeout_s", visibility_timeout_s)
        check_redrive(receive_count_max=receive_count_max, has_dead_letters=dead_letters is not None)
        check_heavy(heavy_in_flight_max)
        self._heavy_in_flight_max = heavy_in_flight_max
        self._round_robin = WeightedRoundRobin()
        self._visibility_timeout_s = visibility_timeout_s
        self._receive_count_max = receive_count_max
        self._dead_letters = dead_letters
        self._clock = clock
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._messages: dict[int, _Message] = {}
        # (visible_at_s, id) of every message of a class; entries of messages whose time has changed are
        # skipped.
        self._order: dict[Priority, list[tuple[float, int]]] = {priority: [] for priority in PRIORITIES}

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.ASYNCHRONOUS) -> None:
        """Store every body as a message of its own; see `Queue.send`."""
        with self._changed:
            visible_at_s = self._clock.now_s()
            for body in bodies:
                message_id = next(self._ids)
                self._messages[message_id] = _Message(bytes(body), visible_at_s, priority)
                heapq.heappush(self._order[priority], (visible_at_s, message_id))
            self._changed.notify(len(bodies))

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` visible messages and hide them; see `Queue.receive`."""
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
                    self._set_visible_at(message_id, message, now_s + timeout_s)
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
                    self._set_visible_at(message_id, message, now_s)
            self._changed.notify(len(receipts))

    def depth(self) -> Depth:
        """Return the number of messages; see `Queue.depth`."""
        with self._changed:
            now_s = self._clock.now_s()
            in_flight = sum(message.visible_at_s > now_s for message in self._messages.values())
            interactive = sum(
                message.visible_at_s <= now_s and bool(message.priority & Priority.INTERACTIVE)
                for message in self._messages.values()
            )
            return Depth(len(self._messages) - in_flight, in_flight, 0, interactive)

    def _take(self, count_max: int, timeout_s: float) -> list[Received]:
        now_s = self._clock.now_s()
        dead: list[tuple[int, _Message]] = []

        def pop(priority: Priority) -> tuple[int, _Message] | None:
            while self._visible_at_s(priority) <= now_s:
                _, message_id = heapq.heappop(self._order[priority])
                message = self._messages[message_id]
                message.visible_at_s = math.inf  # so that another entry of it is skipped
                limit = self._receive_count_max
                if limit is None or message.receive_count < limit:
                    return message_id, message
                dead.append((message_id, message))
            return None

        taken = self._round_robin.take(pop, count_max=count_max, heavy_has_room=self._heavy_has_room())
        received = []
        for message_id, message in taken:
            message.receive_count += 1
            message.token = secrets.token_hex(8)
            self._set_visible_at(message_id, message, now_s + timeout_s)
            received.append(Received(message.body, f"{message_id}-{message.token}", message.receive_count))
        self._redrive(dead, now_s)
        if self._due_in_s() <= 0:  # one notification may stand for several messages
            self._changed.notify()
        return received

    def _redrive(self, dead: Sequence[tuple[int, _Message]], now_s: float) -> None:
        for message_id, message in dead:  # made visible first, because the dead-letter queue may refuse them
            self._set_visible_at(message_id, message, now_s)
        for message_id, message in dead:
            assert self._dead_letters is not None, "checked by the constructor"  # noqa: S101 -- our own bug
            self._dead_letters.send([message.body])
            del self._messages[message_id]

    def _due_in_s(self) -> float:
        """Return in how many seconds a message may be received; infinity if there is none."""
        priorities = PRIORITIES if self._heavy_has_room() else LIGHT
        return min(self._visible_at_s(priority) for priority in priorities) - self._clock.now_s()

    def _visible_at_s(self, priority: Priority) -> float:
        """Return when the next message of a class is visible; infinity if there is none."""
        order = self._order[priority]
        while order:
            visible_at_s, message_id = order[0]
            message = self._messages.get(message_id)
            if message is not None and message.visible_at_s == visible_at_s:
                return visible_at_s
            heapq.heappop(order)
        return math.inf

    def _heavy_has_room(self) -> bool:
        if self._heavy_in_flight_max is None:
            return True
        now_s = self._clock.now_s()
        in_flight = sum(
            message.priority in HEAVY and message.token is not None and message.visible_at_s > now_s
            for message in self._messages.values()
        )
        return in_flight < self._heavy_in_flight_max

    def _set_visible_at(self, message_id: int, message: _Message, visible_at_s: float) -> None:
        message.visible_at_s = visible_at_s
        heapq.heappush(self._order[message.priority], (visible_at_s, message_id))

    def _find(self, receipt: str) -> tuple[int, _Message | None]:
        message_id, _, token = receipt.partition("-")
        message = self._messages.get(int(message_id)) if message_id.isdecimal() else None
        return (int(message_id), message) if message and message.token == token else (0, None)
