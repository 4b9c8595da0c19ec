"""The queue's contract on every embedded backend."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from beholder.clock import Clock, ManualClock, SystemClock
from beholder.queue import MemoryQueue, Queue, SqliteQueue
from beholder.testing import PriorityContract
from beholder.testing.queue_contract import Advance, MakeQueue


class _OnManualClock(PriorityContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def advance(self, clock: ManualClock) -> Advance:
        return clock.advance


class TestMemoryQueue(_OnManualClock):
    @pytest.fixture
    def dead_letters(self, clock: Clock) -> Queue:
        return MemoryQueue(clock=clock)

    @pytest.fixture
    def make_queue(self, clock: Clock, dead_letters: Queue) -> MakeQueue:
        return partial(MemoryQueue, clock=clock, dead_letters=dead_letters)


class TestSqliteQueue(_OnManualClock):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "queue.db"

    @pytest.fixture
    def dead_letters(self, path: Path, clock: Clock) -> Iterator[Queue]:
        with SqliteQueue(path, "dead", clock=clock) as queue:
            yield queue

    @pytest.fixture
    def make_queue(self, path: Path, clock: Clock) -> Iterator[MakeQueue]:
        made: list[SqliteQueue] = []

        def make(**settings: float) -> Queue:
            made.append(SqliteQueue(path, "work", clock=clock, dead_letters="dead", **settings))
            return made[-1]

        yield make
        for queue in made:
            queue.close()


class _SendingThroughAnother:
    """Two objects on one file, as two processes have them: one sends, acks and counts, the other receives."""

    def __init__(self, receiver: SqliteQueue, sender: SqliteQueue) -> None:
        self.receive = receiver.receive
        self.nack = receiver.nack
        self.send = sender.send
        self.ack = sender.ack
        self.extend = sender.extend
        self.depth = sender.depth


class TestTwoSqliteQueuesOnOneFile(TestSqliteQueue):
    @pytest.fixture
    def make_queue(self, path: Path, clock: Clock) -> Iterator[MakeQueue]:
        made: list[SqliteQueue] = []

        def make(**settings: float) -> Queue:
            open_one = partial(SqliteQueue, path, "work", clock=clock, dead_letters="dead", **settings)
            made.extend([open_one(), open_one()])
            return _SendingThroughAnother(*made[-2:])

        yield make
        for queue in made:
            queue.close()


class TestSqliteQueueOnTheRealClock(TestSqliteQueue):
    """With leases that really run out: what a backend without a clock of ours goes through."""

    TIMEOUT_S = 0.2

    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()

    @pytest.fixture
    def advance(self) -> Advance:
        return time.sleep
