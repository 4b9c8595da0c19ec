"""A worker's heartbeats, and how long it stays without work."""

from functools import partial

import pytest

from beholder.clock import ManualClock
from beholder.draining.gaps import IdleGaps, read_idle_gaps, write_idle_gaps
from beholder.draining.heartbeat import HeartbeatWriter, IdleGapNotes, IdleMonitor, seniority_of
from beholder.draining.idle import IdleSettings, Seniority
from beholder.draining.work import WorkDone
from beholder.errors import BackendUnavailable
from beholder.scaling.heartbeats import Heartbeat, read_heartbeats, write_heartbeat
from beholder.scaling.observation import InstanceState
from beholder.store.memory import MemoryStore

READY, BUSY, IDLE = InstanceState.READY, InstanceState.BUSY, InstanceState.IDLE
DRAINING, PENDING = InstanceState.DRAINING, InstanceState.PENDING


class Scene:
    """A worker that gives signs to a list; a broken store takes none."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.given: list[InstanceState] = []
        self.idle_since_s: float | None = 0.0
        self.is_broken = False
        self.life = HeartbeatWriter(
            self._give, lambda: self.idle_since_s, self.clock, every_s=60.0, flip_s=10.0
        )

    def _give(self, state: InstanceState) -> None:
        if self.is_broken:
            raise BackendUnavailable("store", "put", "away")
        self.given.append(state)

    def runs(self, seconds: float) -> None:
        end_s = self.clock.now_s() + seconds
        while self.clock.now_s() < end_s:
            self.clock.advance(self.life.tick())


# --- signs --------------------------------------------------------------------------------------------------


def test_the_first_sign_is_given_at_once_and_says_ready() -> None:
    scene = Scene()
    scene.idle_since_s = None
    scene.life.tick()
    assert scene.given == [READY]


def test_an_unchanged_worker_gives_a_sign_a_minute() -> None:
    scene = Scene()
    scene.runs(10 + 10 * 60)
    assert scene.given == [READY, *[IDLE] * 10]


def test_a_worker_that_flips_all_the_time_gives_one_sign_in_ten_seconds() -> None:
    # given
    scene = Scene()
    # when: it is busy in every other second
    for second in range(100):
        scene.idle_since_s = None if second % 2 else 0.0
        scene.runs(1.0)
    # then
    assert len(scene.given) <= 11


def test_draining_is_stored_when_announce_returns_however_fresh_the_last_sign_is() -> None:
    scene = Scene()
    scene.life.announce("in_service")
    scene.life.announce("draining")
    assert scene.given == [READY, DRAINING]
    scene.life.announce("in_service")
    assert scene.given == [READY, DRAINING, IDLE]


def test_an_announcement_that_could_not_be_stored_is_an_error_and_changes_nothing() -> None:
    # given
    scene = Scene()
    scene.life.announce("in_service")
    # when
    scene.is_broken = True
    with pytest.raises(BackendUnavailable):
        scene.life.announce("draining")
    # then: it still serves, and the announcement can be tried again
    scene.is_broken = False
    scene.runs(11)
    assert scene.given == [READY, IDLE]
    scene.life.announce("draining")
    assert scene.given[-1] is DRAINING


def test_a_worker_that_drains_says_nothing_else() -> None:
    scene = Scene()
    scene.life.announce("draining")
    scene.idle_since_s = None
    scene.runs(130)
    assert set(scene.given) == {DRAINING}
    assert len(scene.given) == 3


def test_the_last_sign_says_draining_and_a_broken_store_hinders_no_end() -> None:
    scene = Scene()
    scene.life.tick()
    scene.life.end()
    assert scene.given == [READY, DRAINING]
    other = Scene()
    other.is_broken = True
    other.life.end()
    assert other.given == []


def test_a_sign_that_could_not_be_given_is_given_at_the_next_pass() -> None:
    scene = Scene()
    scene.is_broken = True
    with pytest.raises(BackendUnavailable):
        scene.life.tick()
    scene.is_broken = False
    scene.life.tick()
    assert scene.given == [READY]


def test_a_sign_is_what_the_controller_reads() -> None:
    store = MemoryStore()
    life = HeartbeatWriter(
        lambda state: write_heartbeat(store, "worker-0", state), lambda: 0.0, ManualClock()
    )
    life.announce("draining")
    assert read_heartbeats(store)["worker-0"].state is DRAINING


def test_a_change_makes_no_sign_later_than_none_would() -> None:
    scene = Scene()
    scene.life = HeartbeatWriter(
        scene._give, lambda: scene.idle_since_s, scene.clock, every_s=5.0, flip_s=30.0
    )
    scene.runs(1)
    assert scene.given == [READY]
    scene.runs(6)
    assert scene.given == [READY, IDLE]


# --- peers --------------------------------------------------------------------------------------------------


def heartbeats(**states: InstanceState) -> dict[str, Heartbeat]:
    return {name.replace("_", "-"): Heartbeat(state, 1000.0) for name, state in states.items()}


def test_only_those_that_serve_are_peers() -> None:
    found = heartbeats(worker_0=BUSY, worker_1=DRAINING, worker_2=PENDING, worker_3=READY, worker_4=IDLE)
    assert seniority_of(found, "worker-3", 1010.0) == Seniority(count=3, older=1)


def test_a_worker_counts_itself_whatever_its_sign_says() -> None:
    assert seniority_of({}, "worker-0", 1010.0) == Seniority(count=1, older=0)
    assert seniority_of(heartbeats(worker_0=DRAINING), "worker-0", 1010.0) == Seniority(count=1, older=0)


def test_who_has_been_silent_for_long_is_no_peer() -> None:
    assert seniority_of(heartbeats(worker_0=BUSY), "worker-1", 1200.0) == Seniority(count=1, older=0)


def test_all_agree_on_one_order_and_ten_comes_after_nine() -> None:
    names = [f"worker-{number}" for number in range(12)]
    found = {name: Heartbeat(IDLE, 1000.0) for name in names}
    assert [seniority_of(found, name, 1000.0).older for name in names] == list(range(12))


# --- how long it stays --------------------------------------------------------------------------------------


class Resting:
    """A worker that works and rests by hand, asked every second while it rests."""

    def __init__(
        self, settings: IdleSettings, peers: Seniority, *, share: float = 0.0, fixed_s: float | None = None
    ) -> None:
        self.clock = ManualClock()
        self.done = WorkDone()
        self.peers = peers
        self.looks = 0
        self.watch = IdleMonitor(
            settings,
            work=lambda: self.done,
            peers=self._look,
            clock=self.clock,
            service_s=0.01,
            share=share,
            fixed_s=fixed_s,
        )

    def _look(self) -> Seniority:
        self.looks += 1
        return self.peers

    def works(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.done = WorkDone(self.done.busy_s + seconds, self.done.messages + round(seconds * 100))

    def stays_s(self, at_most_s: int = 1000) -> int:
        """Let it rest until it leaves; return after how many seconds, `at_most_s` where it stays."""
        for idle_s in range(at_most_s):
            if self.watch(float(idle_s)).leaves:
                return idle_s
            self.clock.advance(1.0)
        return at_most_s


LOCAL = IdleSettings(startup_s=300.0, latency_goal_s=0.25, startup_patience=0.0)
STAY_ONE = IdleSettings(startup_s=300.0, latency_goal_s=0.25, startup_patience=0.0, stay_min=1)


def test_the_last_worker_stays_for_the_price_of_a_boot() -> None:
    worker = Resting(LOCAL, Seniority(1, 0), share=1.0)
    worker.works(5)
    assert worker.stays_s() == 300


def test_a_second_worker_stays_for_a_quarter_of_a_minute_after_a_burst() -> None:
    worker = Resting(LOCAL, Seniority(2, 1), share=1.0)
    worker.works(5)
    assert 12 <= worker.stays_s() <= 20


def test_a_second_worker_leaves_though_single_images_keep_coming() -> None:
    # given: an image each ten seconds
    worker = Resting(LOCAL, Seniority(2, 1), share=1.0)
    # when
    rests = 0
    while worker.stays_s(10) == 10:
        worker.works(0.01)
        rests += 1
        assert rests < 100
    # then
    assert 1 <= rests <= 3


def test_one_of_the_oldest_stays_for_ever_also_where_a_time_is_fixed() -> None:
    assert Resting(STAY_ONE, Seniority(2, 0)).stays_s() == 1000
    assert Resting(STAY_ONE, Seniority(2, 0), fixed_s=5.0).stays_s() == 1000
    assert Resting(STAY_ONE, Seniority(2, 1), fixed_s=5.0).stays_s() == 5


def test_zero_is_for_ever() -> None:
    assert Resting(LOCAL, Seniority(2, 1), fixed_s=0.0).stays_s() == 1000


def test_only_the_oldest_needs_a_last_look() -> None:
    oldest, other = Resting(LOCAL, Seniority(2, 0), fixed_s=5.0), Resting(LOCAL, Seniority(2, 1), fixed_s=5.0)
    assert oldest.watch(6.0).needs_look
    assert not other.watch(6.0).needs_look
    # and it looks anew after the announcement
    other.peers = Seniority(1, 0)
    assert other.watch.is_last_look_needed()


def test_who_would_leave_looks_for_its_peers_once_more() -> None:
    # given: one that leaves since another is there
    worker = Resting(STAY_ONE, Seniority(2, 1), fixed_s=5.0)
    assert not worker.watch(0.0).leaves
    # when: the other has gone meanwhile
    worker.peers = Seniority(1, 0)
    worker.clock.advance(6.0)
    verdict = worker.watch(6.0)
    # then
    assert not verdict.leaves
    assert verdict.needs_look


def test_a_long_rest_costs_few_looks() -> None:
    worker = Resting(LOCAL, Seniority(1, 0), share=1.0)
    assert worker.stays_s() == 300
    assert worker.looks <= 3


# --- what it learns of idle gaps ----------------------------------------------------------------------------


class Learning(Resting):
    """A worker on AWS that reads and leaves notes of idle gaps; messages are stamped by `now_s`."""

    def __init__(self, store: MemoryStore, *, workers: int = 1) -> None:
        super().__init__(IdleSettings(stay_s_min=15.0), Seniority(workers, 0))
        self.now_s = 10_000.0
        notes = IdleGapNotes(
            partial(read_idle_gaps, store), partial(write_idle_gaps, store), lambda: self.now_s
        )
        self.watch = IdleMonitor(
            IdleSettings(stay_s_min=15.0),
            work=lambda: self.done,
            peers=lambda: self.peers,
            clock=self.clock,
            service_s=0.5,
            notes=notes,
        )
        self.watch(0.0)

    def works_on_one(self, sent_at_s: float) -> None:
        self.clock.advance(0.5)
        self.done = WorkDone(
            self.done.busy_s + 0.5, self.done.messages + 1, self.done.first_sent_at_s or sent_at_s
        )

    def rests(self, seconds: float) -> None:
        for idle_s in range(int(seconds)):
            self.watch(float(idle_s))
            self.clock.advance(1.0)


def test_idle_gaps_are_learnt_while_it_stays() -> None:
    # given
    store = MemoryStore()
    worker = Learning(store)
    # when: three messages after the first, each a minute after the other
    for _ in range(4):
        worker.works_on_one(0.0)
        worker.rests(60)
    worker.watch.leaves()
    # then: the first had no idle gap before it that anybody knew of
    assert read_idle_gaps(store).samples_s == pytest.approx((60.0, 60.0, 60.0), abs=1.1)


def test_its_successor_knows_when_it_fell_idle_and_how_long_that_was() -> None:
    # given: one that leaves 20 s after its last message
    store = MemoryStore()
    worker = Learning(store)
    worker.works_on_one(0.0)
    worker.rests(20)
    worker.watch.leaves()
    assert read_idle_gaps(store).idle_since_s == pytest.approx(10_000.0 - 20.0, abs=1.1)
    # when: an hour later another comes, and has its message
    successor = Learning(store)
    successor.works_on_one(13_600.0)
    successor.rests(20)
    successor.watch.leaves()
    # then
    assert read_idle_gaps(store).samples_s == pytest.approx((3620.0,), abs=1.1)


def test_after_hours_between_messages_it_stays_no_longer_than_it_must() -> None:
    store = MemoryStore()
    write_idle_gaps(store, IdleGaps((3600.0,) * 6, 5_000.0))
    worker = Learning(store)
    worker.works_on_one(9_000.0)
    assert worker.stays_s() == 15


def test_one_of_several_writes_nothing() -> None:
    store = MemoryStore()
    worker = Learning(store, workers=2)
    worker.works_on_one(0.0)
    worker.rests(30)
    worker.watch.leaves()
    assert read_idle_gaps(store) == IdleGaps()


def test_a_note_that_cannot_be_written_keeps_nobody_from_leaving() -> None:
    def fail(_: IdleGaps) -> None:
        raise BackendUnavailable("s3 store", "put")

    worker = Learning(MemoryStore())
    worker.watch = IdleMonitor(
        IdleSettings(),
        work=lambda: worker.done,
        peers=lambda: worker.peers,
        clock=worker.clock,
        service_s=0.5,
        notes=IdleGapNotes(IdleGaps, fail, lambda: 0.0),
    )
    worker.rests(5)
    worker.watch.leaves()
