"""The visibility extender: constant extensions, a limit, and none for receipts that have expired."""

from collections.abc import Sequence

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.queue.memory import MemoryQueue
from beholder.worker.extender import VisibilityExtender

TIMEOUT_S = 30.0
STEP_S = 10.0
HOLD_MAX_S = 100.0


class CountedQueue(MemoryQueue):
    """A queue that records every extension."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(visibility_timeout_s=TIMEOUT_S, clock=clock)
        self.extended: list[tuple[list[str], float]] = []

    def extend(self, receipts: Sequence[str], *, timeout_s: float) -> list[str]:
        self.extended.append((list(receipts), timeout_s))
        return super().extend(receipts, timeout_s=timeout_s)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> CountedQueue:
    return CountedQueue(clock)


@pytest.fixture
def extender(queue: CountedQueue, clock: ManualClock) -> VisibilityExtender:
    return VisibilityExtender(queue, clock, timeout_s=TIMEOUT_S, hold_max_s=HOLD_MAX_S, on_hung=lambda: None)


def take(queue: CountedQueue) -> str:
    queue.send([b"x"])
    (received,) = queue.receive(count_max=1, wait_s=0)
    return received.receipt


def test_every_extension_is_the_same_however_long_the_work(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock
) -> None:
    # given
    receipt = take(queue)
    extender.hold([receipt])
    # when
    for _ in range(9):
        clock.advance(STEP_S)
        assert extender.tick() == STEP_S
    # then
    assert queue.extended == [([receipt], TIMEOUT_S)] * 9
    assert queue.depth().in_flight == 1


@pytest.mark.parametrize("offset_s", [0.0, 0.1, 4.9, 5.0, 5.1, 9.9])
def test_a_message_stays_hidden_whenever_the_work_begins(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock, offset_s: float
) -> None:
    # given: the work begins somewhere between two passes
    extender.tick()
    clock.advance(offset_s)
    extender.hold([take(queue)])
    clock.advance(STEP_S - offset_s)
    # when
    for _ in range(9):
        extender.tick()
        clock.advance(STEP_S)
        # then
        assert queue.depth().in_flight == 1


def test_short_work_costs_no_extension(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock
) -> None:
    receipt = take(queue)
    extender.hold([receipt])
    clock.advance(STEP_S / 2 - 0.1)
    extender.tick()
    extender.release([receipt])
    clock.advance(STEP_S)
    extender.tick()
    assert queue.extended == []


def test_a_message_is_let_go_after_hold_max_s(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock
) -> None:
    # given
    hung, fine = take(queue), take(queue)
    extender.hold([hung])
    clock.advance(STEP_S)
    extender.hold([fine])
    # when
    for _ in range(10):
        clock.advance(STEP_S)
        extender.tick()
    # then: the other one is kept on
    assert queue.extended[-1][0] == [fine]
    clock.advance(TIMEOUT_S - STEP_S)
    assert queue.depth().backlog == 1


def test_an_expired_receipt_is_not_extended_again(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock
) -> None:
    gone, held = take(queue), take(queue)
    extender.hold([gone, held])
    queue.ack([gone])
    for _ in range(2):
        clock.advance(STEP_S)
        extender.tick()
    assert [receipts for receipts, _ in queue.extended] == [[gone, held], [held]]


def test_a_failing_queue_is_tried_again(
    extender: VisibilityExtender, queue: CountedQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    extender.hold([take(queue)])
    clock.advance(STEP_S)

    def fail(_: Sequence[str], *, timeout_s: float) -> list[str]:
        raise BackendUnavailable("sqlite queue", f"extend by {timeout_s}")

    with monkeypatch.context() as patched:
        patched.setattr(queue, "extend", fail)
        with pytest.raises(BackendUnavailable):
            extender.tick()
    # when
    extender.tick()
    # then
    assert len(queue.extended) == 1


def test_releasing_what_is_not_held_is_no_error(extender: VisibilityExtender) -> None:
    extender.release(["never held"])
    assert extender.tick() == STEP_S
    assert extender.timeout_s == TIMEOUT_S


def test_work_that_hangs_is_reported_once(queue: CountedQueue, clock: ManualClock) -> None:
    hung_at_s: list[float] = []
    extender = VisibilityExtender(
        queue,
        clock,
        timeout_s=TIMEOUT_S,
        hold_max_s=HOLD_MAX_S,
        on_hung=lambda: hung_at_s.append(clock.now_s()),
    )
    queue.send([b"a job"])
    extender.hold([one.receipt for one in queue.receive(count_max=1, wait_s=0)])
    began_s = clock.now_s()
    while clock.now_s() - began_s <= 2 * HOLD_MAX_S:
        clock.advance(extender.tick())
    assert len(hung_at_s) == 1
    assert HOLD_MAX_S < hung_at_s[0] - began_s <= HOLD_MAX_S + STEP_S
