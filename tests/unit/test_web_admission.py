"""Backpressure: the bound on waiting jobs, between two readings and in a rush."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable, Overloaded
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Depth
from beholder.web.admission import Admission


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue(clock=clock)


@pytest.fixture
def admission(queue: MemoryQueue, clock: ManualClock) -> Admission:
    return Admission(queue, clock, backlog_max=10)


def send(admission: Admission, queue: MemoryQueue, count: int = 1) -> None:
    for _ in range(count):
        with admission.admit():
            queue.send([b"x"])


def unreachable(_: Sequence[bytes]) -> None:
    raise BackendUnavailable("sqlite queue", "send")


def refusal(admission: Admission) -> Overloaded:
    with pytest.raises(Overloaded) as caught, admission.admit():
        pytest.fail("admitted")
    return caught.value


def test_the_bound_holds_between_two_readings(admission: Admission, queue: MemoryQueue) -> None:
    admission.tick()
    send(admission, queue, 10)
    assert refusal(admission).message.startswith("10 jobs wait already")
    admission.tick()
    refusal(admission)


def test_what_was_received_makes_room_at_the_next_reading(admission: Admission, queue: MemoryQueue) -> None:
    send(admission, queue, 10)
    queue.receive(count_max=3, wait_s=0)
    refusal(admission)
    admission.tick()
    send(admission, queue, 3)
    refusal(admission)


def test_what_is_taken_in_and_not_yet_sent_counts_however_many_readings_it_lasts(
    admission: Admission, queue: MemoryQueue
) -> None:
    # given: ten uploads that wait for an intake thread
    with ExitStack() as rush:
        for _ in range(10):
            rush.enter_context(admission.admit())
        # when
        admission.tick()
        admission.tick()
        # then
        refusal(admission)
    # and once they are sent they count until they are read
    queue.send([b"x"] * 10)
    refusal(admission)
    admission.tick()
    refusal(admission)


def test_what_failed_on_its_way_in_does_not_count(admission: Admission) -> None:
    for _ in range(30):
        with pytest.raises(BackendUnavailable), admission.admit():
            unreachable([b"x"])
    with admission.admit():
        pass


def test_a_failing_reading_leaves_the_bound_as_it_was(
    admission: Admission, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    send(admission, queue, 10)

    def fail() -> Depth:
        raise BackendUnavailable("sqlite queue", "depth")

    with monkeypatch.context() as patched:
        patched.setattr(queue, "depth", fail)
        # when
        with pytest.raises(BackendUnavailable):
            admission.tick()
    # then
    refusal(admission)
    admission.tick()
    refusal(admission)


def test_a_reading_says_when_the_next_one_comes(admission: Admission, queue: MemoryQueue) -> None:
    queue.send([b"x", b"y"])
    assert 0 < admission.tick() <= 1
    assert admission.depth.backlog == 2


def drained_at(per_s: float, *, clock: ManualClock, queue: MemoryQueue, admission: Admission) -> int:
    """Return the Retry-After once the queue has drained at a steady rate for a minute."""
    drained = 0.0
    send(admission, queue, 10)
    admission.tick()
    for _ in range(240):
        clock.advance(0.25)
        drained += per_s * 0.25
        count = int(drained)
        drained -= count
        for _ in range(count):
            queue.ack([one.receipt for one in queue.receive(count_max=1, wait_s=0)])
        admission.tick()
        while admission.depth.backlog + admission._sent_since < 10:
            send(admission, queue)
    return refusal(admission).retry_after_s


@pytest.mark.parametrize(
    ("per_s", "low_s", "high_s"), [(20.0, 1, 1), (1.0, 1, 3), (0.2, 4, 9), (0.1, 6, 20), (0.001, 60, 60)]
)
def test_retry_after_is_the_time_in_which_a_tenth_drains(
    per_s: float, low_s: int, high_s: int, clock: ManualClock
) -> None:
    queue = MemoryQueue(clock=clock)
    admission = Admission(queue, clock, backlog_max=10)
    assert low_s <= drained_at(per_s, clock=clock, queue=queue, admission=admission) <= high_s


def test_where_nothing_ever_drained_retry_after_is_a_minute(admission: Admission, queue: MemoryQueue) -> None:
    send(admission, queue, 10)
    assert refusal(admission).retry_after_s == 60


@given(actions=st.lists(st.sampled_from(["send", "fail", "receive", "read", "later"]), max_size=60))
def test_the_queue_never_holds_more_than_the_bound(actions: list[str]) -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock=clock)
    admission = Admission(queue, clock, backlog_max=3)
    for action in actions:
        if action == "read":
            admission.tick()
        elif action == "later":
            clock.advance(1)
        elif action == "receive":
            queue.ack([one.receipt for one in queue.receive(count_max=2, wait_s=0)])
        else:
            with suppress(Overloaded, BackendUnavailable), admission.admit():
                (unreachable if action == "fail" else queue.send)([b"x"])
        assert queue.depth().backlog <= 3
