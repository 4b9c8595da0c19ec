"""The contract of every queue, as a test class that an adapter's author subclasses.

Define the fixtures that make your queues, and pytest runs the whole suite on them::

    from beholder.testing import QueueContract

    class TestMyQueue(QueueContract):
        @pytest.fixture
        def dead_letters(self):
            return MyQueue("dead")

        @pytest.fixture
        def make_queue(self, dead_letters):
            return functools.partial(MyQueue, "name", dead_letters=dead_letters)

        @pytest.fixture
        def advance(self):
            return time.sleep  # or ManualClock().advance, if your queue takes a clock

`make_queue` takes `visibility_timeout_s` and `receive_count_max`. A test calls it once, on an empty queue.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from beholder.queue import Depth, Priority, Queue, Received

__all__ = ["QueueContract", "fall_asleep"]

MakeQueue = Callable[..., Queue]
Advance = Callable[[float], None]

_FALL_ASLEEP_S = 0.1


def fall_asleep() -> None:
    """Give another thread the time to begin to wait inside a receive, which nothing announces.

    A test also passes if the thread is slower than this.
    """
    time.sleep(_FALL_ASLEEP_S)


class QueueContract:
    """The semantics of the `Queue` port, one test each.

    An adapter's test may override `TIMEOUT_S` (the visibility timeout in the tests that wait for one),
    `SETTLE_S` (how long an empty receive waits until it counts as empty) and `BODY_BYTES_MAX`.
    """

    TIMEOUT_S = 1.0
    SETTLE_S = 0.0
    BODY_BYTES_MAX = 1_000_000

    @pytest.fixture
    def make_queue(self) -> MakeQueue:
        """Return the factory of the queue under test; an adapter's test overrides this."""
        raise NotImplementedError

    @pytest.fixture
    def dead_letters(self) -> Queue:
        """Return the dead-letter queue of the queue under test; an adapter's test overrides this."""
        raise NotImplementedError

    @pytest.fixture
    def advance(self) -> Advance:
        """Return a function that lets seconds pass for the queue; an adapter's test may override this."""
        return time.sleep

    @pytest.fixture
    def queue(self, make_queue: MakeQueue) -> Queue:
        """Return a queue whose visibility timeout does not pass during a test."""
        return make_queue(visibility_timeout_s=600.0)

    @pytest.fixture
    def brief(self, make_queue: MakeQueue) -> Queue:
        """Return a queue whose messages become visible again after TIMEOUT_S."""
        return make_queue(visibility_timeout_s=self.TIMEOUT_S)

    # --- one message -------------------------------------------------------------------------------------

    def test_a_sent_message_is_received_once_and_hidden(self, queue: Queue) -> None:
        """A message comes back unchanged, and only to the first receiver that asks."""
        queue.send([b"hello"])
        message = self._one(queue)
        assert (message.body, message.receive_count) == (b"hello", 1)
        assert self._nothing(queue)

    @pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe\r\n", bytes(range(256)), "köln ☃".encode()])
    def test_any_bytes_survive(self, queue: Queue, body: bytes) -> None:
        """A body is bytes, possibly none, and not text."""
        queue.send([body])
        assert self._one(queue).body == body

    def test_a_large_body_survives(self, queue: Queue) -> None:
        """A message may be as large as BODY_BYTES_MAX."""
        body = os.urandom(self.BODY_BYTES_MAX)
        queue.send([body])
        assert self._one(queue).body == body

    def test_an_empty_send_sends_nothing(self, queue: Queue) -> None:
        """No bodies, no messages."""
        queue.send([])
        assert self._nothing(queue)

    def test_an_acked_message_never_comes_back(self, brief: Queue, advance: Advance) -> None:
        """An ack deletes for good."""
        brief.send([b"x"])
        brief.ack([self._one(brief).receipt])
        advance(self.TIMEOUT_S * 1.1)
        assert self._nothing(brief)

    # --- time --------------------------------------------------------------------------------------------

    def test_an_unacked_message_comes_back_with_a_new_receipt(self, brief: Queue, advance: Advance) -> None:
        """Delivery is at least once: the death of a receiver costs nothing but time."""
        brief.send([b"x"])
        first = self._one(brief)
        advance(self.TIMEOUT_S * 1.1)
        second = self._one(brief)
        assert (second.body, second.receive_count) == (b"x", 2)
        assert second.receipt != first.receipt

    def test_a_receive_may_set_its_own_timeout(self, queue: Queue, advance: Advance) -> None:
        """The timeout of one call overrides the queue's own."""
        queue.send([b"x"])
        queue.receive(count_max=1, wait_s=1.0, visibility_timeout_s=self.TIMEOUT_S)
        advance(self.TIMEOUT_S * 1.1)
        assert self._one(queue).receive_count == 2

    def test_an_extension_counts_from_its_call(self, brief: Queue, advance: Advance) -> None:
        """Extending replaces what was left of the timeout and does not add to it."""
        brief.send([b"x"])
        message = self._one(brief)
        assert brief.extend([message.receipt], timeout_s=self.TIMEOUT_S * 600) == []
        advance(self.TIMEOUT_S * 1.5)
        assert self._nothing(brief)
        assert brief.extend([message.receipt], timeout_s=self.TIMEOUT_S) == []
        advance(self.TIMEOUT_S * 1.1)
        assert self._one(brief).receive_count == 2

    def test_an_extension_comes_too_late(self, brief: Queue, advance: Advance) -> None:
        """Extending returns the receipts that no longer hold a message."""
        brief.send([b"expired", b"acked", b"held"])
        expired = self._one(brief)
        advance(self.TIMEOUT_S * 1.1)
        held = {message.body: message for message in self._all(brief, 3)}
        acked = held[b"acked"].receipt
        brief.ack([acked])
        late = brief.extend([expired.receipt, acked, held[b"held"].receipt], timeout_s=600.0)
        assert sorted(late) == sorted([expired.receipt, acked])

    def test_an_extension_of_a_message_that_is_visible_again_fails(
        self, brief: Queue, advance: Advance
    ) -> None:
        """After the timeout a receipt is void, even if no other receiver has taken the message."""
        brief.send([b"x"])
        message = self._one(brief)
        advance(self.TIMEOUT_S * 1.1)
        assert brief.extend([message.receipt], timeout_s=600.0) == [message.receipt]
        assert self._one(brief).body == b"x"

    # --- nack, stale receipts, redrive -------------------------------------------------------------------

    def test_a_nacked_message_is_visible_at_once(self, queue: Queue) -> None:
        """A nack needs no wait, but the next receive counts."""
        queue.send([b"x"])
        first = self._one(queue)
        queue.nack([first.receipt])
        assert self._one(queue).receive_count == 2

    def test_stale_receipts_are_ignored(self, brief: Queue, advance: Advance) -> None:
        """A receiver that lost a message to another can neither delete it nor give it back."""
        brief.send([b"x"])
        stale = self._one(brief)
        advance(self.TIMEOUT_S * 1.1)
        fresh = self._one(brief)
        brief.ack([stale.receipt])
        brief.nack([stale.receipt])
        assert self._nothing(brief)
        assert brief.extend([fresh.receipt], timeout_s=600.0) == []

    def test_an_acked_receipt_may_be_used_again_to_no_effect(self, queue: Queue) -> None:
        """Ack and nack of a deleted message are ignored."""
        queue.send([b"x"])
        receipt = self._one(queue).receipt
        queue.ack([receipt])
        queue.ack([receipt])
        queue.nack([receipt])
        assert self._nothing(queue)

    def test_a_message_is_redriven_after_its_last_receive(
        self, make_queue: MakeQueue, dead_letters: Queue
    ) -> None:
        """A message that was received receive_count_max times moves to the dead letters, its body kept."""
        queue = make_queue(visibility_timeout_s=600.0, receive_count_max=2)
        queue.send([b"poison", b"food"])
        for receive_count in (1, 2):
            received = {message.body: message for message in self._all(queue, 2)}
            assert received[b"poison"].receive_count == receive_count
            assert self._nothing(dead_letters)
            queue.nack([message.receipt for message in received.values()])
        assert self._nothing(queue)
        dead = self._all(dead_letters, 2)
        assert sorted(message.body for message in dead) == [b"food", b"poison"]
        assert queue.depth() == Depth(backlog=0, in_flight=0, delayed=0)

    def test_a_healthy_message_passes_a_poisoned_one(
        self, make_queue: MakeQueue, dead_letters: Queue
    ) -> None:
        """A receive that moves a message to the dead letters still returns others."""
        queue = make_queue(visibility_timeout_s=600.0, receive_count_max=1)
        queue.send([b"poison"])
        queue.nack([self._one(queue).receipt])
        queue.send([b"food"])
        assert self._one(queue).body == b"food"
        assert self._one(dead_letters).body == b"poison"

    # --- batches, order, depth ---------------------------------------------------------------------------

    def test_a_receive_brings_no_more_than_asked_for(self, queue: Queue) -> None:
        """count_max is a limit, and may be 10 at most."""
        queue.send([b"%d" % number for number in range(12)])
        assert 1 <= len(queue.receive(count_max=3, wait_s=1.0)) <= 3
        assert 1 <= len(queue.receive(count_max=10, wait_s=1.0)) <= 10
        for count_max in (0, 11):
            with pytest.raises(ValueError, match="count_max"):
                queue.receive(count_max=count_max, wait_s=0)

    def test_a_large_batch_arrives_whole(self, queue: Queue) -> None:
        """A send may hold more messages than a receive brings."""
        bodies = [b"%d" % number for number in range(25)]
        queue.send(bodies)
        received = self._all(queue, 25)
        assert sorted(message.body for message in received) == sorted(bodies)
        queue.ack([message.receipt for message in received])
        assert self._nothing(queue)

    def test_older_messages_come_first(self, queue: Queue) -> None:
        """Of two sends that do not overlap the first is received first; an adapter may keep that roughly."""
        for number in range(20):
            queue.send([b"%d" % number])
        order = [int(message.body) for message in self._all(queue, 20)]
        assert self._is_ordered(order)

    def test_depth_counts_backlog_and_in_flight(self, queue: Queue) -> None:
        """Every message is counted once, in its state."""
        assert self._depth_becomes(queue, Depth(backlog=0, in_flight=0, delayed=0))
        queue.send([b"a", b"b", b"c", b"d"])
        first, second, *_ = self._all(queue, 2)
        assert self._depth_becomes(queue, Depth(backlog=2, in_flight=2, delayed=0))
        queue.ack([first.receipt])
        queue.nack([second.receipt])
        assert self._depth_becomes(queue, Depth(backlog=3, in_flight=0, delayed=0))

    def test_every_class_of_messages_is_received_once_and_counted(self, queue: Queue) -> None:
        """Messages of all classes are delivered, even if the queue has no classes."""
        for number, priority in enumerate(map(Priority, range(4))):
            queue.send([b"%d" % number], priority=priority)
        assert self._depth_becomes(queue, Depth(backlog=4, in_flight=0, delayed=0))
        received = self._all(queue, 4)
        assert sorted(message.body for message in received) == [b"0", b"1", b"2", b"3"]
        assert self._depth_becomes(queue, Depth(backlog=0, in_flight=4, delayed=0))
        queue.ack([message.receipt for message in received])
        assert self._nothing(queue)

    # --- waiting and many at once ------------------------------------------------------------------------

    def test_an_empty_receive_returns_when_its_wait_is_over(self, queue: Queue) -> None:
        """A wait ends by itself, and a receive without a wait returns at once."""
        began_s = time.monotonic()
        assert queue.receive(count_max=1, wait_s=0) == []
        assert time.monotonic() - began_s < 5.0  # a usual wait takes 20
        began_s = time.monotonic()
        assert queue.receive(count_max=1, wait_s=1.0) == []
        assert 0.9 <= time.monotonic() - began_s < 15.0

    def test_a_waiting_receive_is_woken_by_a_send(self, queue: Queue) -> None:
        """A message is delivered before the end of a receiver's wait."""
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.receive, count_max=1, wait_s=20.0)
            fall_asleep()
            sent_s = time.monotonic()
            queue.send([b"x"])
            assert [message.body for message in waiting.result()] == [b"x"]
        assert time.monotonic() - sent_s < 5.0

    def test_every_waiting_receive_gets_its_message(self, queue: Queue) -> None:
        """One batch wakes as many receivers as it has messages."""
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(queue.receive, count_max=1, wait_s=20.0) for _ in range(8)]
            fall_asleep()
            queue.send([b"%d" % number for number in range(8)])
            bodies = [message.body for future in waiting for message in future.result()]
        assert sorted(bodies) == [b"%d" % number for number in range(8)]

    def test_concurrent_receivers_never_share_a_message(self, queue: Queue) -> None:
        """64 receivers, 16 senders: every message goes to one receiver, and none is lost."""
        count = 640
        received: Counter[bytes] = Counter()
        lock = threading.Lock()
        deadline_s = time.monotonic() + 60.0

        def send(sender: int) -> None:
            for number in range(sender, count, 16):
                queue.send([b"%d" % number])

        def receive() -> None:
            while received.total() < count and time.monotonic() < deadline_s:
                messages = queue.receive(count_max=7, wait_s=0.5)
                with lock:
                    received.update(message.body for message in messages)
                queue.ack([message.receipt for message in messages])

        with ThreadPoolExecutor(80) as pool:
            tasks = [pool.submit(receive) for _ in range(64)] + [pool.submit(send, n) for n in range(16)]
            for task in tasks:
                task.result()
        assert received == Counter(b"%d" % number for number in range(count))
        assert self._nothing(queue)

    # --- what the tests above share ----------------------------------------------------------------------

    def _one(self, queue: Queue) -> Received:
        (message,) = queue.receive(count_max=1, wait_s=5.0)
        return message

    def _all(self, queue: Queue, count: int) -> list[Received]:
        received: list[Received] = []
        while len(received) < count:
            messages = queue.receive(count_max=min(10, count - len(received)), wait_s=5.0)
            assert messages, f"{count - len(received)} of {count} messages did not come"
            received += messages
        return received

    def _nothing(self, queue: Queue) -> bool:
        return queue.receive(count_max=1, wait_s=self.SETTLE_S) == []

    def _is_ordered(self, order: list[int]) -> bool:
        return order == sorted(order)

    def _depth_becomes(self, queue: Queue, expected: Depth) -> bool:
        deadline_s = time.monotonic() + self.SETTLE_S
        while (seen := queue.depth()) != expected:
            assert time.monotonic() < deadline_s, f"depth is {seen}, not {expected}"
        return True
