"""Backpressure: the bound on waiting jobs, between two readings and in a rush, and what Retry-After says."""

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable, Overloaded
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Depth, Priority, Received
from beholder.web.submission.admission import Admission

FOR_EVER_S = math.inf
JOB_IDS = itertools.count()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue(clock=clock)


@pytest.fixture
def admission(queue: MemoryQueue, clock: ManualClock) -> Admission:
    return Admission(queue, clock, backlog_max=10)


def send(admission: Admission, queue: MemoryQueue, count: int = 1, *, waits: bool = True) -> str:
    """Send jobs, and return the id of the last."""
    job_id = ""
    for _ in range(count):
        job_id = str(next(JOB_IDS))
        with admission.admit(job_id, FOR_EVER_S if waits else 0.0) as is_interactive:
            assert is_interactive is waits
            queue.send([b"x"], priority=Priority.INTERACTIVE if waits else Priority.ASYNCHRONOUS)
    return job_id


def unreachable(_: Sequence[bytes]) -> None:
    raise BackendUnavailable("sqlite queue", "send")


def refusal(admission: Admission, *, waits: bool = True) -> Overloaded:
    with pytest.raises(Overloaded) as caught, admission.admit("refused", FOR_EVER_S if waits else 0.0):
        pytest.fail("admitted")
    return caught.value


def is_interactive(admission: Admission, wait_s: float) -> bool:
    """Say whether a job would be interactive; it is not sent."""
    found = []
    with suppress(BackendUnavailable), admission.admit("unsent", wait_s) as answer:
        found.append(answer)
        unreachable([b"x"])
    return found[0]


def test_the_bound_holds_between_two_readings(admission: Admission, queue: MemoryQueue) -> None:
    admission.tick()
    send(admission, queue, 10)
    assert refusal(admission).message.startswith("10 jobs wait already")
    admission.tick()
    refusal(admission)


def test_a_job_that_is_sent_during_a_reading_counts_once(clock: ManualClock) -> None:
    # given
    class Busy(MemoryQueue):
        readings = 0

        def depth(self) -> Depth:
            self.readings += 1
            if self.readings == 1:
                send(admission, self, 4)
            return super().depth()

    busy = Busy(clock=clock)
    admission = Admission(busy, clock, backlog_max=10)
    # when
    admission.tick()
    # then
    assert busy.readings == 2
    send(admission, busy, 6)
    assert refusal(admission).message.startswith("10 jobs wait already")


def test_a_rush_that_never_pauses_does_not_keep_the_reading_from_its_end(clock: ManualClock) -> None:
    class Rushed(MemoryQueue):
        readings = 0

        def depth(self) -> Depth:
            self.readings += 1
            send(admission, self)
            return super().depth()

    rushed = Rushed(clock=clock)
    admission = Admission(rushed, clock, backlog_max=10)
    admission.tick()
    assert rushed.readings == 3


def test_what_was_received_makes_room_at_the_next_reading(admission: Admission, queue: MemoryQueue) -> None:
    send(admission, queue, 10)
    queue.receive(count_max=3, wait_s=0)
    refusal(admission)
    admission.tick()
    send(admission, queue, 3)
    refusal(admission)


def test_admitted_jobs_count_until_they_are_sent_however_many_readings_that_lasts(
    admission: Admission, queue: MemoryQueue
) -> None:
    # given: ten uploads that wait for a submitter thread
    with ExitStack() as rush:
        for _ in range(10):
            rush.enter_context(admission.admit("job", FOR_EVER_S))
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
        with pytest.raises(BackendUnavailable), admission.admit("job", FOR_EVER_S):
            unreachable([b"x"])
    with admission.admit("job", FOR_EVER_S):
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


def test_a_reading_returns_the_time_until_the_next_reading(admission: Admission, queue: MemoryQueue) -> None:
    queue.send([b"x"] * 10)
    assert 0 < admission.tick() <= 1
    refusal(admission)


def test_without_jobs_the_readings_rest_until_the_next_job(
    admission: Admission, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace_s = 0.25
    assert admission.tick() > pace_s
    assert not admission.notifier.is_set()
    send(admission, queue)
    assert admission.notifier.is_set()
    # amid the jobs that are being sent, a reading would count some twice
    with monkeypatch.context() as patch:
        patch.setattr(queue, "depth", None)
        assert admission.tick() == pace_s
    assert admission.tick() == pace_s
    (received,) = queue.receive(count_max=1, wait_s=0)
    assert admission.tick() == pace_s  # it is in flight
    queue.ack([received.receipt])
    admission.done(1)
    assert admission.tick() == pace_s  # it ended since the last reading
    # while a job is admitted and not yet sent, there is no rest
    with admission.admit("one", 0.0):
        assert admission.tick() == pace_s
        queue.send([b"x"])
    queue.ack([one.receipt for one in queue.receive(count_max=1, wait_s=0)])
    admission.tick()
    assert admission.tick() > pace_s


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
        admission.done(count)
        admission.tick()
        send(admission, queue, 10 - queue.depth().backlog)
    return refusal(admission).retry_after_s


@pytest.mark.parametrize(("per_s", "low_s", "high_s"), [(20.0, 1, 1), (1.0, 1, 3), (0.2, 4, 9), (0.1, 6, 20)])
def test_retry_after_is_the_time_in_which_a_tenth_drains(
    per_s: float, low_s: int, high_s: int, clock: ManualClock
) -> None:
    queue = MemoryQueue(clock=clock)
    admission = Admission(queue, clock, backlog_max=10)
    assert low_s <= drained_at(per_s, clock=clock, queue=queue, admission=admission) <= high_s


def test_before_the_first_outcome_a_job_counts_a_tenth_of_a_second_plus_the_startup(
    queue: MemoryQueue, clock: ManualClock
) -> None:
    admission = Admission(queue, clock, backlog_max=1_000, startup_s=200.0)
    last = send(admission, queue, 500, waits=False)
    assert admission.retry_after_s(last) == 250
    # and once a worker is running the startup is over
    queue.receive(count_max=10, wait_s=0)
    admission.tick()
    assert admission.retry_after_s(last) == 50


def test_no_wait_is_longer_than_ten_minutes_nor_shorter_than_a_second(
    queue: MemoryQueue, clock: ManualClock
) -> None:
    admission = Admission(queue, clock, backlog_max=1_000_000)
    assert admission.retry_after_s(send(admission, queue)) == 1
    queue.send([b"x"] * 20_000)
    admission.tick()
    assert admission.retry_after_s(send(admission, queue, waits=False)) == 600


def test_asynchronous_jobs_are_refused_while_interactive_ones_pass(
    admission: Admission, queue: MemoryQueue
) -> None:
    send(admission, queue, 8, waits=False)
    assert refusal(admission, waits=False).message.startswith("8 jobs wait and the remaining room")
    send(admission, queue, 2)
    # and where callers who wait are refused, so are all
    refusal(admission)
    refusal(admission, waits=False)
    admission.tick()
    refusal(admission)


def test_interactive_jobs_count_for_the_bound_of_all(admission: Admission, queue: MemoryQueue) -> None:
    send(admission, queue, 9)
    refusal(admission, waits=False)
    send(admission, queue, 1)


def test_a_caller_who_waits_too_short_for_those_before_counts_as_asynchronous(
    queue: MemoryQueue, clock: ManualClock
) -> None:
    # given: a job is taken to need 0.1 s, so three interactive ones take 0.3 s
    admission = Admission(queue, clock, backlog_max=100)
    assert not is_interactive(admission, 0.0)
    assert is_interactive(admission, 0.1)
    send(admission, queue, 5, waits=False)
    assert is_interactive(admission, 0.1)  # asynchronous ones come after it
    send(admission, queue, 3)
    # then: between two readings, after the next one, and in a rush
    for _ in range(2):
        assert not is_interactive(admission, 0.25)
        assert is_interactive(admission, 0.35)
        with admission.admit("job", FOR_EVER_S):
            assert not is_interactive(admission, 0.35)
        admission.tick()


def test_where_the_queue_knows_no_classes_all_who_wait_are_interactive(clock: ManualClock) -> None:
    class Plain(MemoryQueue):
        def depth(self) -> Depth:
            return Depth(500, 10, 0)

    admission = Admission(Plain(clock=clock), clock, backlog_max=1_000)
    admission.tick()
    assert is_interactive(admission, 0.01)
    assert not is_interactive(admission, 0.0)


class Served:
    """A queue that is worked on at a steady rate, in batches, as long as something waits."""

    def __init__(self, rate: float, *, workers_batch: int = 4) -> None:
        self.clock = ManualClock()
        self.queue = MemoryQueue(clock=self.clock)
        self.admission = Admission(self.queue, self.clock, backlog_max=1_000_000)
        self.admission.tick()
        self._period_s = workers_batch / rate
        self._batch = workers_batch
        self._next_s = self.clock.now_s()
        self._in_hand: list[Received] = []
        self.done = 0

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            while self._next_s <= self.clock.now_s():
                self.queue.ack([one.receipt for one in self._in_hand])
                self.done += len(self._in_hand)
                self.admission.done(len(self._in_hand))
                self._in_hand = self.queue.receive(count_max=self._batch, wait_s=0)
                self._next_s += self._period_s
            self.admission.tick()


@pytest.mark.parametrize("rate", [0.5, 4.0, 40.0])
def test_the_retry_after_of_a_202_is_when_the_outcome_comes(rate: float) -> None:
    # given: a backlog that is worked on for a while
    served = Served(rate)
    send(served.admission, served.queue, math.ceil(120 * rate), waits=False)
    served.pass_time(40)
    # when: a job is sent, and told when to look
    left = served.queue.depth()
    job_id = send(served.admission, served.queue, waits=False)
    said_s = served.admission.retry_after_s(job_id)
    # then
    truth_s = (left.backlog + left.in_flight) / rate
    assert truth_s * 0.7 - 1 <= said_s <= truth_s * 1.4 + 1
    # and what it is told later is what is left
    served.pass_time(20)
    assert abs(served.admission.retry_after_s(job_id) - (truth_s - 20)) <= 0.3 * truth_s + 1


def test_an_hour_without_work_does_not_change_the_rate() -> None:
    served = Served(10.0)
    send(served.admission, served.queue, 400, waits=False)
    served.pass_time(3_600)
    assert served.queue.depth() == Depth(0, 0, 0)
    last = send(served.admission, served.queue, 300, waits=False)
    assert 20 <= served.admission.retry_after_s(last) <= 45


def test_the_retry_after_of_an_interactive_job_counts_the_jobs_before_it_and_not_the_whole_backlog() -> None:
    served = Served(10.0)
    send(served.admission, served.queue, 600, waits=False)
    send(served.admission, served.queue, 30)
    served.pass_time(0.25)
    interactive = served.admission.retry_after_s(send(served.admission, served.queue))
    asynchronous = served.admission.retry_after_s(send(served.admission, served.queue, waits=False))
    assert interactive <= 8
    assert asynchronous >= 50


def test_a_backend_that_knows_no_classes_counts_all(clock: ManualClock) -> None:
    class Plain(MemoryQueue):
        def depth(self) -> Depth:
            return Depth(500, 10, 0)

    admission = Admission(Plain(clock=clock), clock, backlog_max=1_000)
    admission.tick()
    for wait_s in (FOR_EVER_S, 0.0):
        with admission.admit("job", wait_s):
            pass
        assert admission.retry_after_s("job") == 51  # 510 jobs, 0.1 s for each
        admission.tick()


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
            with suppress(Overloaded, BackendUnavailable), admission.admit("job", FOR_EVER_S):
                (unreachable if action == "fail" else queue.send)([b"x"])
        assert queue.depth().backlog <= 3
