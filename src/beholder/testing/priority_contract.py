"""The contract of queues that know classes of messages; see `queue_contract` for the fixtures."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from beholder.queue import Depth, Priority, Queue
from beholder.testing.queue_contract import Advance, MakeQueue, QueueContract, fall_asleep

__all__ = ["PriorityContract"]

_CLASSES = [
    Priority.INTERACTIVE,
    Priority.ASYNCHRONOUS,
    Priority.INTERACTIVE | Priority.HEAVY,
    Priority.ASYNCHRONOUS | Priority.HEAVY,
]


class PriorityContract(QueueContract):
    """The semantics of classes of messages, for adapters that know them.

    `make_queue` also takes `heavy_in_flight_max`.
    """

    def test_interactive_messages_go_first_but_for_a_share(self, queue: Queue) -> None:
        """Each fourth place is an asynchronous message's, while both wait; so neither starves."""
        self._send(queue, Priority.ASYNCHRONOUS, b"a", 40)
        self._send(queue, Priority.INTERACTIVE, b"i", 9)
        letters = b"".join(message.body[:1] for message in self._all(queue, 16))
        assert letters == b"iiia" * 3 + b"aaaa"

    @pytest.mark.parametrize("count_max", [1, 2, 3, 4, 7, 10])
    def test_neither_starves_whatever_a_receive_asks_for(self, queue: Queue, count_max: int) -> None:
        """The share holds over receives of any size, and in every stretch of messages."""
        self._send(queue, Priority.ASYNCHRONOUS, b"a", 100)
        self._send(queue, Priority.INTERACTIVE, b"i", 100)
        letters: list[bytes] = []
        while len(letters) < 80:
            letters += [one.body[:1] for one in queue.receive(count_max=count_max, wait_s=0)]
        for begin in range(len(letters) - 8):
            assert 5 <= letters[begin : begin + 8].count(b"i") <= 7

    def test_the_oldest_of_a_class_comes_first(self, queue: Queue) -> None:
        """Classes overtake each other, messages of one class do not."""
        for number in range(12):
            self._send(queue, _CLASSES[number % 4], b"%d" % number, 1)
        order = [int(message.body) for message in self._all(queue, 12)]
        for index in range(4):
            mine = [number for number in order if number % 4 == index]
            assert mine == sorted(mine)

    def test_a_heavy_message_comes_alone(self, queue: Queue) -> None:
        """No light message waits for the heavy one that came with it."""
        for number in range(3):
            self._send(queue, Priority.HEAVY | Priority.INTERACTIVE, b"h", 1)
            self._send(queue, Priority(number % 2), b"l", 2)
        while received := queue.receive(count_max=10, wait_s=0):
            letters = [message.body[:1] for message in received]
            assert letters == [b"h"] or b"h" not in letters

    def test_heavy_and_light_messages_take_turns(self, queue: Queue) -> None:
        """Each fourth receive is a heavy message's, while both wait; heavy ones alone do not wait."""
        self._send(queue, Priority.HEAVY, b"h", 4)
        self._send(queue, Priority.INTERACTIVE, b"l", 12)
        receives = [queue.receive(count_max=2, wait_s=0)[0].body[:1] for _ in range(10)]
        assert b"".join(receives) == b"lllhlllhhh"

    def test_only_so_many_heavy_messages_are_in_flight(self, make_queue: MakeQueue, advance: Advance) -> None:
        """The bound applies to both classes together; an ack, a nack or a timeout makes room."""
        queue = make_queue(visibility_timeout_s=self.TIMEOUT_S, heavy_in_flight_max=2)
        self._send(queue, Priority.HEAVY, b"h", 3)
        self._send(queue, Priority.HEAVY | Priority.INTERACTIVE, b"h", 3)
        first, second = self._one(queue), self._one(queue)
        assert queue.receive(count_max=10, wait_s=0) == []
        queue.ack([first.receipt])
        assert [len(queue.receive(count_max=10, wait_s=0)) for _ in range(2)] == [1, 0]
        queue.nack([second.receipt])
        assert [len(queue.receive(count_max=10, wait_s=0)) for _ in range(2)] == [1, 0]
        assert queue.depth() == Depth(backlog=3, in_flight=2, delayed=0)
        advance(self.TIMEOUT_S * 1.1)
        assert [len(queue.receive(count_max=10, wait_s=0)) for _ in range(3)] == [1, 1, 0]

    def test_light_messages_pass_heavy_ones_that_have_no_room(self, make_queue: MakeQueue) -> None:
        """A receive that waits meanwhile sleeps, and the next light message wakes it."""
        queue = make_queue(visibility_timeout_s=600.0, heavy_in_flight_max=1)
        self._send(queue, Priority.HEAVY, b"h", 3)
        self._one(queue)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.receive, count_max=4, wait_s=20.0)
            fall_asleep()
            self._send(queue, Priority.ASYNCHRONOUS, b"l", 1)
            assert [message.body for message in waiting.result()] == [b"l"]

    def test_a_waiting_receive_takes_a_heavy_message_once_there_is_room(self, make_queue: MakeQueue) -> None:
        """Room that an ack makes is used, though nothing was sent."""
        queue = make_queue(visibility_timeout_s=600.0, heavy_in_flight_max=1)
        self._send(queue, Priority.HEAVY, b"h", 2)
        first = self._one(queue)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.receive, count_max=4, wait_s=20.0)
            fall_asleep()
            queue.ack([first.receipt])
            assert [message.body for message in waiting.result()] == [b"h"]

    def test_a_bound_on_heavy_messages_lets_one_through(self, make_queue: MakeQueue) -> None:
        """A bound of none would keep heavy messages for ever."""
        with pytest.raises(ValueError, match="heavy_in_flight_max"):
            make_queue(heavy_in_flight_max=0)

    def test_depth_counts_the_interactive_messages_of_the_backlog(self, queue: Queue) -> None:
        """Heavy messages count, too, and messages in flight do not."""
        for number, priority in enumerate(_CLASSES):
            self._send(queue, priority, b"x", number + 1)
        assert queue.depth().interactive == 4
        queue.receive(count_max=1, wait_s=0)
        assert queue.depth().interactive == 3

    def _send(self, queue: Queue, priority: Priority, letter: bytes, count: int) -> None:
        queue.send([letter] * count, priority=priority)
