"""The queues as state machines against a model that is too simple to be wrong."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from beholder.clock import ManualClock
from beholder.queue import Depth, MemoryQueue, Priority, Queue, SqliteQueue

TIMEOUT_S = 30.0
RECEIVE_COUNT_MAX = 3
HEAVY_MAX = 2
SECONDS = st.sampled_from([0.0, 1.0, 15.0, 29.0, 30.0, 31.0, 90.0])


@dataclass
class Modelled:
    """One message of the model; `sequence` is the order in which messages of one moment became visible."""

    body: bytes
    visible_at_s: float
    sequence: int
    is_interactive: bool
    is_heavy: bool
    receive_count: int = 0
    receipt: str | None = None


class QueueMachine(RuleBasedStateMachine):
    """In whatever order things happen: nothing lost, one owner per live receipt, exact counts and redrive."""

    queue: Queue
    dead_letters: Queue

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.model: list[Modelled] = []
        self.dead: list[bytes] = []
        self.stale: list[str] = []
        self.sent = 0
        self.receives = 0
        self.places = {False: 0, True: 0}

    # --- what happens --------------------------------------------------------------------------------------

    @rule(count=st.integers(0, 12), is_interactive=st.booleans(), is_heavy=st.booleans())
    def send(self, *, count: int, is_interactive: bool, is_heavy: bool) -> None:
        bodies = [b"%d" % (self.sent + number) for number in range(count)]
        self.queue.send(bodies, priority=Priority(is_interactive + 2 * is_heavy))
        for body in bodies:
            self.model.append(Modelled(body, self.clock.now_s(), self.sent, is_interactive, is_heavy))
            self.sent += 1

    @rule(count_max=st.integers(1, 10), timeout_s=st.none() | SECONDS)
    def receive(self, count_max: int, timeout_s: float | None) -> None:
        received = self.queue.receive(count_max=count_max, wait_s=0, visibility_timeout_s=timeout_s)
        expected = self._take(count_max)
        assert [message.body for message in received] == [message.body for message in expected]
        for message, modelled in zip(received, expected, strict=True):
            modelled.receive_count += 1
            assert message.receive_count == modelled.receive_count
            if modelled.receipt is not None:
                self.stale.append(modelled.receipt)
            modelled.receipt = message.receipt
            modelled.visible_at_s = self.clock.now_s() + (TIMEOUT_S if timeout_s is None else timeout_s)
        live = [message.receipt for message in self.model if message.receipt]
        assert len(set(live + self.stale)) == len(live + self.stale)

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self._receipts())
    @rule(data=st.data(), timeout_s=SECONDS)
    def extend(self, data: st.DataObject, timeout_s: float) -> None:
        receipts = self._some(data)
        lost = self.queue.extend(receipts, timeout_s=timeout_s)
        held = {message.receipt: message for message in self._held()}
        assert lost == [receipt for receipt in receipts if receipt not in held]
        for receipt in receipts:
            if receipt in held:
                held[receipt].visible_at_s = self.clock.now_s() + timeout_s

    @precondition(lambda self: self._receipts())
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        receipts = self._some(data)
        self.queue.ack(receipts)
        self.stale += [message.receipt for message in self.model if message.receipt in receipts]
        self.model = [message for message in self.model if message.receipt not in receipts]

    @precondition(lambda self: self._receipts())
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        receipts = self._some(data)
        self.queue.nack(receipts)
        for message in self._held():
            if message.receipt in receipts:
                self.stale.append(message.receipt)
                message.receipt = None
                message.visible_at_s = self.clock.now_s()

    # --- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def depth_is_exact(self) -> None:
        now_s = self.clock.now_s()
        hidden = [message for message in self.model if message.visible_at_s > now_s]
        assert all(message.receipt is not None for message in hidden)
        assert self.queue.depth() == Depth(len(self.model) - len(hidden), len(hidden), 0)
        interactive = [message for message in self.model if message.is_interactive]
        assert self.queue.depth().interactive == sum(one.visible_at_s <= now_s for one in interactive)
        assert self.dead_letters.depth() == Depth(len(self.dead), 0, 0)

    def teardown(self) -> None:
        """Receive everything that should be left: nothing is lost, nothing comes from nowhere."""
        self.clock.advance(1_000.0)
        left = sorted(message.body for message in self.model)
        found: list[bytes] = []
        while messages := self.queue.receive(count_max=10, wait_s=0):
            found += [message.body for message in messages]
            self.queue.ack([message.receipt for message in messages])
        while messages := self.dead_letters.receive(count_max=10, wait_s=0):
            found += [message.body for message in messages]
        assert sorted(found) == sorted(left + self.dead)

    # --- the model -----------------------------------------------------------------------------------------

    def _take(self, count_max: int) -> list[Modelled]:
        in_flight = sum(message.is_heavy for message in self._held())
        room = {False: count_max, True: int(in_flight < HEAVY_MAX)}
        order = (True, False) if self.receives % 4 == 3 else (False, True)
        for is_heavy in order:
            taken: list[Modelled] = []
            while len(taken) < room[is_heavy] and (message := self._next(taken, is_heavy=is_heavy)):
                taken.append(message)
            if taken:
                self.receives += 1
                return taken
        return []

    def _next(self, taken: list[Modelled], *, is_heavy: bool) -> Modelled | None:
        """Return the next light or heavy message; exhausted ones before it move to the dead letters."""
        is_swapped = self.places[is_heavy] % 4 == 3
        visible = [
            message
            for message in self.model
            if message.is_heavy == is_heavy and message.visible_at_s <= self.clock.now_s()
        ]
        for message in sorted(
            visible, key=lambda one: (one.is_interactive == is_swapped, one.visible_at_s, one.sequence)
        ):
            if any(message is one for one in taken):
                continue
            if message.receive_count == RECEIVE_COUNT_MAX:
                self.model.remove(message)
                self.dead.append(message.body)
                self.stale += [message.receipt] if message.receipt else []
            else:
                self.places[is_heavy] += 1
                return message
        return None

    def _held(self) -> list[Modelled]:
        now_s = self.clock.now_s()
        return [message for message in self.model if message.receipt and message.visible_at_s > now_s]

    def _receipts(self) -> list[str]:
        return self.stale[-5:] + [message.receipt for message in self.model if message.receipt]

    def _some(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(self._receipts()), min_size=1, max_size=5, unique=True))


class MemoryMachine(QueueMachine):
    @initialize()
    def make(self) -> None:
        self.dead_letters = MemoryQueue(clock=self.clock)
        self.queue = MemoryQueue(
            visibility_timeout_s=TIMEOUT_S,
            receive_count_max=RECEIVE_COUNT_MAX,
            heavy_in_flight_max=HEAVY_MAX,
            dead_letters=self.dead_letters,
            clock=self.clock,
        )


class SqliteMachine(QueueMachine):
    @initialize()
    def make(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        path = self.folder / "queue.db"
        self.dead_letters = SqliteQueue(path, "dead", clock=self.clock)
        self.queue = SqliteQueue(
            path,
            "work",
            visibility_timeout_s=TIMEOUT_S,
            receive_count_max=RECEIVE_COUNT_MAX,
            heavy_in_flight_max=HEAVY_MAX,
            dead_letters="dead",
            clock=self.clock,
        )

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.queue.close()
            self.dead_letters.close()
            shutil.rmtree(self.folder)


TestMemoryMachine = pytest.mark.pure(MemoryMachine.TestCase)
TestSqliteMachine = SqliteMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=300, stateful_step_count=30, derandomize=True)
TestSqliteMachine.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    derandomize=True,
)
