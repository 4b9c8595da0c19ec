"""Messages that are sent and not answered: what web processes tell, and what the policy makes of it."""

import random
from dataclasses import replace

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.fleet.memory import MemoryFleet
from beholder.queue.memory import MemoryQueue
from beholder.scaling import Limits, Observation, PolicyState, decide
from beholder.scaling.policy.estimate import MessageCount
from beholder.scaling.sensor import FleetSensor
from beholder.scaling.unanswered import UNANSWERED_PREFIX, UnansweredMessages
from beholder.store.memory import MemoryStore

LAG_S = 65.0


class Process:
    """A web process that sends and gets answers."""

    def __init__(self, store: MemoryStore, clock: ManualClock, name: str) -> None:
        self.count = 0
        self.messages = UnansweredMessages(lambda: self.count, store, name, clock)


class Rig:
    """A leader and other web processes on one store."""

    def __init__(self) -> None:
        self.clock, self.store = ManualClock(), MemoryStore()
        self.leader = self.process("leader")

    def process(self, name: str) -> Process:
        return Process(self.store, self.clock, name)

    def told(self) -> list[str]:
        return [one.key.removeprefix(UNANSWERED_PREFIX) for one in self.store.list(UNANSWERED_PREFIX)]

    def known(self, name: str) -> Process:
        """Return another process, whose object the leader has read."""
        other = self.process(name)
        other.messages.tell()
        self.clock.advance(300.0)
        self.leader.messages.change()
        return other


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_leader_s_own_messages_count_at_once_and_put_nothing(rig: Rig) -> None:
    rig.leader.count = 7
    assert rig.leader.messages.change() == 7
    rig.leader.count = 3
    assert [rig.leader.messages.change() for _ in range(2)] == [-4, 0]
    assert rig.told() == []


def test_a_process_tells_few_messages_each_15_s_and_many_at_once(rig: Rig) -> None:
    # given
    other = rig.known("other")
    # when: one, a second after the last put
    other.count = 1
    other.messages.tell()
    rig.clock.advance(1.0)
    other.count = 2
    other.messages.tell()
    # then
    assert rig.leader.messages.change() == 1
    rig.clock.advance(14.0)
    other.messages.tell()
    assert rig.leader.messages.change() == 1
    # and
    other.count = 500
    other.messages.tell()
    assert rig.leader.messages.change() == 498


def test_a_process_that_sends_nothing_puts_once(rig: Rig) -> None:
    other = rig.known("other")
    stored_at_s = rig.store.head(UNANSWERED_PREFIX + "other").stored_at_s
    for _ in range(10):
        rig.clock.advance(60.0)
        other.messages.tell()
    assert rig.store.head(UNANSWERED_PREFIX + "other").stored_at_s == stored_at_s


def test_what_a_process_told_before_the_leader_knew_it_is_no_news(rig: Rig) -> None:
    other = rig.process("other")
    other.count = 1_000_000
    other.messages.tell()
    assert rig.leader.messages.change() == 0
    other.count += 20
    other.messages.tell()
    assert rig.leader.messages.change() == 20


def test_what_the_earlier_leader_did_while_it_led_is_no_news_to_the_next(rig: Rig) -> None:
    """Else all that waits in its name would count twice after each change of leaders."""
    # given
    other = rig.known("other")
    # when: the other one leads for a while, and sends
    other.messages.change()
    other.count = 5000
    other.messages.change()
    # and: then follows again
    other.count = 5003
    rig.clock.advance(60.0)
    other.messages.tell()
    # then
    assert rig.leader.messages.change() == 3


def test_a_process_that_starts_again_takes_nothing_back(rig: Rig) -> None:
    other = rig.known("other")
    other.count = 40
    other.messages.tell()
    assert rig.leader.messages.change() == 40
    again = rig.known("other-2")
    again.count = 15
    again.messages.tell()
    assert rig.leader.messages.change() == 15


def test_the_object_of_a_process_that_ended_is_deleted_after_a_day(rig: Rig) -> None:
    rig.known("other")
    rig.clock.advance(86_300.0)
    assert rig.leader.messages.change() == 0
    assert rig.told() == ["other"]
    rig.clock.advance(200.0)
    assert rig.leader.messages.change() == 0
    assert rig.told() == []


def test_an_object_that_is_gone_and_one_that_cannot_be_read_change_nothing(rig: Rig) -> None:
    rig.known("other")
    rig.store.delete(UNANSWERED_PREFIX + "other")
    rig.store.put(UNANSWERED_PREFIX + "later", b"{}")
    rig.clock.advance(300.0)
    assert rig.leader.messages.change() == 0


def test_a_put_that_fails_is_logged_and_told_with_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given
    other = rig.known("other")
    other.count = 20

    def fail(*_: object, **__: object) -> None:
        raise BackendUnavailable("memory store", "put")

    # when
    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "put", fail)
        other.messages.tell()
    other.messages.tell()
    # then
    assert "controller.untold" in {getattr(one, "action", "") for one in caplog.records}
    assert rig.leader.messages.change() == 20


def test_the_sensor_hands_the_change_on(rig: Rig) -> None:
    queue, fleet = MemoryQueue(clock=rig.clock), MemoryFleet(clock=rig.clock)
    change = rig.leader.messages.change
    sensor = FleetSensor(queue, fleet, rig.store, rig.clock, unanswered=change)
    sensor.observe()
    rig.leader.count = 4
    assert [sensor.observe().unanswered for _ in range(2)] == [4, 0]


@pytest.mark.parametrize("lag_ticks", [0, 1, 12])
@pytest.mark.parametrize("seed", range(5))
def test_where_web_processes_know_all_the_count_is_exact_however_old_the_queue_s_counts_are(
    lag_ticks: int, seed: int
) -> None:
    rng = random.Random(seed)
    truth = [0]
    count = MessageCount().seen(0, 0, now_s=0.0, lag_s=LAG_S)
    for tick in range(1, 300):
        change = max(rng.randint(-20, 20) if rng.random() < 0.8 else 500, -truth[-1])
        truth.append(truth[-1] + change)
        counted = truth[max(0, tick - lag_ticks)]
        count = count.seen(counted, change, now_s=5.0 * tick, lag_s=LAG_S)
        assert count.now == truth[-1]


def test_without_web_processes_that_tell_the_queue_s_counts_are_the_count() -> None:
    count = MessageCount()
    for tick, counted in enumerate((0, 500, 20, 0, 7)):
        count = count.seen(counted, 0, now_s=5.0 * tick, lag_s=LAG_S)
        assert count.now == counted


@pytest.mark.parametrize(
    ("known", "counted"),
    [pytest.param(3, 0, id="a reply was lost"), pytest.param(-3, 0, id="a reply came twice")],
)
def test_what_web_processes_have_wrong_is_forgotten_after_the_lag(known: int, counted: int) -> None:
    count = MessageCount().seen(0, 0, now_s=0.0, lag_s=LAG_S).seen(0, known, now_s=5.0, lag_s=LAG_S)
    for tick in range(2, 17):
        count = count.seen(counted, 0, now_s=5.0 * tick, lag_s=LAG_S)
    assert count.now == counted
    # and: the next message is seen at once
    assert count.seen(0, 1, now_s=90.0, lag_s=LAG_S).now == 1


def test_uploads_that_pass_no_web_process_count_beside_those_that_do() -> None:
    count = MessageCount().seen(0, 0, now_s=0.0, lag_s=LAG_S)
    count = count.seen(100, 0, now_s=5.0, lag_s=LAG_S)
    count = count.seen(100, 30, now_s=10.0, lag_s=LAG_S)
    assert count.now == 130


def test_a_burst_launches_before_the_counts_show_it_and_not_again_when_they_do() -> None:
    # given: a fleet at zero, and counts that are a minute old
    limits = Limits(startup_s=25.0, lag_s=LAG_S)
    _, state = decide(Observation(0.0, 0), PolicyState(), limits)
    # when
    first, state = decide(Observation(5.0, 0, unanswered=500), state, limits)
    # then
    assert first.launch > 5
    assert "500 messages, of which the queue's counts show 0, to do" in first.reason
    # and: it is answered before the counts show it
    _, state = decide(Observation(50.0, 0, unanswered=-500), state, limits)
    late, _ = decide(Observation(65.0, 500), replace(state, unseen=()), limits)
    assert late.forecast.messages == 0
    assert late.launch == 0
