"""How long a worker of a fleet stays without work, and what it learns of idle gaps."""

import math
from dataclasses import replace

import pytest

from beholder.clock import ManualClock
from beholder.draining.idle_gaps import IdleGaps, read_idle_gaps, write_idle_gaps
from beholder.draining.idle_limit import IdleSettings, Seniority
from beholder.draining.idle_monitor import IdleMonitor, seniority_of
from beholder.draining.work import WorkDone
from beholder.errors import BackendUnavailable
from beholder.scaling.heartbeats import Heartbeat
from beholder.scaling.policy.limits import Aim
from beholder.scaling.policy.observation import InstanceState
from beholder.store.memory import MemoryStore

IN_SERVICE = InstanceState.IN_SERVICE
DRAINING, PENDING = InstanceState.DRAINING, InstanceState.PENDING


# --- seniority ----------------------------------------------------------------------------------------------


def heartbeats(**states: InstanceState) -> dict[str, Heartbeat]:
    return {name.replace("_", "-"): Heartbeat(state, 1000.0) for name, state in states.items()}


def test_only_workers_that_serve_count_as_peers() -> None:
    found = heartbeats(
        worker_0=IN_SERVICE, worker_1=DRAINING, worker_2=PENDING, worker_3=IN_SERVICE, worker_4=IN_SERVICE
    )
    assert seniority_of(found, "worker-3", 1010.0) == Seniority(count=3, older=1)


def test_a_worker_counts_itself_whatever_its_heartbeat_says() -> None:
    assert seniority_of({}, "worker-0", 1010.0) == Seniority(count=1, older=0)
    assert seniority_of(heartbeats(worker_0=DRAINING), "worker-0", 1010.0) == Seniority(count=1, older=0)


def test_a_worker_that_has_been_silent_for_long_is_no_peer() -> None:
    assert seniority_of(heartbeats(worker_0=IN_SERVICE), "worker-1", 1200.0) == Seniority(count=1, older=0)


def test_all_workers_agree_on_one_order_and_ten_comes_after_nine() -> None:
    names = [f"worker-{number}" for number in range(12)]
    found = {name: Heartbeat(IN_SERVICE, 1000.0) for name in names}
    assert [seniority_of(found, name, 1000.0).older for name in names] == list(range(12))


# --- how long it stays --------------------------------------------------------------------------------------


class Resting:
    """A worker that works and rests at the test's command; while it rests its rule decides every second."""

    def __init__(self, settings: IdleSettings, peers: Seniority) -> None:
        self.clock, self.wall_clock = ManualClock(), ManualClock(10_000.0)
        self.store = MemoryStore()
        self.done = WorkDone()
        self.peers = peers
        self.looks = 0
        self.learnt_startup_s: float | None = None
        self.monitor = self.monitor_of(settings, service_s=0.01)

    def monitor_of(self, settings: IdleSettings, *, service_s: float) -> IdleMonitor:
        return IdleMonitor(
            settings,
            work=lambda: self.done,
            peers=self._look,
            clock=self.clock,
            store=self.store,
            wall_clock=self.wall_clock,
            service_s=service_s,
            peers_every_s=30.0,
            startup_s=lambda: self.learnt_startup_s,
        )

    def _look(self) -> Seniority:
        self.looks += 1
        return self.peers

    def works(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.done = WorkDone(self.done.busy_s + seconds, self.done.messages + round(seconds * 100))

    def stays_s(self, at_most_s: int = 1000) -> int:
        """Let it rest until it leaves; return after how many seconds, `at_most_s` if it stays."""
        for idle_s in range(at_most_s):
            if self.monitor.decide(float(idle_s)).leaves:
                return idle_s
            self.clock.advance(1.0)
        return at_most_s


LOCAL = IdleSettings(startup_s=300.0, latency_goal_s=0.25)
STAY_ONE = replace(LOCAL, stay_min=1)


def test_the_last_worker_stays_for_the_price_of_a_startup() -> None:
    worker = Resting(LOCAL, Seniority(1, 0))
    worker.works(5)
    assert worker.stays_s() == 300


def test_a_second_worker_stays_for_half_a_minute_after_a_burst() -> None:
    worker = Resting(LOCAL, Seniority(2, 1))
    worker.works(5)
    assert 25 <= worker.stays_s() <= 35


def test_the_startup_time_that_the_controller_has_learnt_counts_not_the_setting() -> None:
    worker = Resting(replace(LOCAL, aim=Aim.DEADLINE), Seniority(1, 0))
    worker.learnt_startup_s = 40.0
    worker.works(5)
    assert worker.stays_s() == 20


def test_a_second_worker_leaves_though_single_images_keep_coming() -> None:
    # given: an image each ten seconds
    worker = Resting(LOCAL, Seniority(2, 1))
    # when
    rests = 0
    while worker.stays_s(10) == 10:
        worker.works(0.01)
        rests += 1
        assert rests < 100
    # then
    assert 1 <= rests <= 12


def test_the_oldest_worker_stays_for_ever_even_with_a_fixed_time() -> None:
    assert Resting(STAY_ONE, Seniority(2, 0)).stays_s() == 1000
    assert Resting(replace(STAY_ONE, idle_s_max=5.0), Seniority(2, 0)).stays_s() == 1000
    assert Resting(replace(STAY_ONE, idle_s_max=5.0), Seniority(2, 1)).stays_s() == 5


def test_a_fixed_time_of_zero_is_for_ever() -> None:
    assert Resting(replace(LOCAL, idle_s_max=math.inf), Seniority(2, 1)).stays_s() == 1000


def test_only_the_oldest_worker_needs_a_final_check() -> None:
    oldest, other = (
        Resting(replace(LOCAL, idle_s_max=5.0), Seniority(2, 0)),
        Resting(replace(LOCAL, idle_s_max=5.0), Seniority(2, 1)),
    )
    assert oldest.monitor.decide(6.0).needs_check
    assert not other.monitor.decide(6.0).needs_check
    # and it lists them anew after the announcement
    other.peers = Seniority(1, 0)
    assert other.monitor.is_final_check_needed()


def test_a_worker_about_to_leave_lists_its_peers_once_more() -> None:
    # given: a worker that leaves because another one is there
    worker = Resting(replace(STAY_ONE, idle_s_max=5.0), Seniority(2, 1))
    assert not worker.monitor.decide(0.0).leaves
    # when: the other has gone meanwhile
    worker.peers = Seniority(1, 0)
    worker.clock.advance(6.0)
    decision = worker.monitor.decide(6.0)
    # then
    assert not decision.leaves
    assert decision.needs_check


def test_a_long_rest_costs_few_listings() -> None:
    worker = Resting(LOCAL, Seniority(1, 0))
    assert worker.stays_s() == 300
    assert worker.looks <= 3


# --- what it learns of idle gaps ----------------------------------------------------------------------------


class Learning(Resting):
    """A worker on AWS that learns the idle gaps, from its predecessor's too."""

    def __init__(self, store: MemoryStore, *, workers: int = 1) -> None:
        super().__init__(IdleSettings(), Seniority(workers, 0))
        self.store = store
        self.monitor = self.monitor_of(IdleSettings(stay_s_min=15.0), service_s=0.5)
        self.monitor.decide(0.0)

    def works_on_one(self, sent_at_s: float) -> None:
        self.clock.advance(0.5)
        self.done = WorkDone(
            self.done.busy_s + 0.5, self.done.messages + 1, self.done.first_sent_at_s or sent_at_s
        )

    def rests(self, seconds: float) -> None:
        for idle_s in range(int(seconds)):
            self.monitor.decide(float(idle_s))
            self.clock.advance(1.0)


def test_a_worker_learns_the_gaps_while_it_stays() -> None:
    # given
    store = MemoryStore()
    worker = Learning(store)
    # when: three messages after the first, each a minute after the other
    for _ in range(4):
        worker.works_on_one(0.0)
        worker.rests(60)
    worker.monitor.before_exit()
    # then: nothing is known of a gap before the first
    assert read_idle_gaps(store).samples_s == pytest.approx((60.0, 60.0, 60.0), abs=1.1)


def test_a_successor_knows_when_its_predecessor_fell_idle_and_how_long_the_gap_was() -> None:
    # given: a worker that leaves 20 s after its last message
    store = MemoryStore()
    worker = Learning(store)
    worker.works_on_one(0.0)
    worker.rests(20)
    worker.monitor.before_exit()
    assert read_idle_gaps(store).idle_since_s == pytest.approx(10_000.0 - 20.0, abs=1.1)
    # when: an hour later its successor has its first message
    successor = Learning(store)
    successor.works_on_one(13_600.0)
    successor.rests(20)
    successor.monitor.before_exit()
    # then
    assert read_idle_gaps(store).samples_s == pytest.approx((3620.0,), abs=1.1)


def test_after_hours_between_messages_a_worker_stays_no_longer_than_it_must() -> None:
    store = MemoryStore()
    write_idle_gaps(store, IdleGaps((3600.0,) * 6, 5_000.0))
    worker = Learning(store)
    worker.works_on_one(9_000.0)
    assert worker.stays_s() == 15


def test_one_of_several_workers_stores_no_gaps() -> None:
    store = MemoryStore()
    worker = Learning(store, workers=2)
    worker.works_on_one(0.0)
    worker.rests(30)
    worker.monitor.before_exit()
    assert read_idle_gaps(store) == IdleGaps()


def test_gaps_that_cannot_be_stored_keep_no_worker_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    def fail(_key: str, _data: bytes) -> None:
        raise BackendUnavailable("s3 store", "put")

    store = MemoryStore()
    monkeypatch.setattr(store, "put", fail)
    worker = Learning(store)
    worker.works_on_one(0.0)
    worker.rests(5)
    # when
    worker.monitor.before_exit()
    # then
    assert read_idle_gaps(store) == IdleGaps()
