"""A worker's heartbeats: when they are written, and what they say."""

import pytest

from beholder.clock import ManualClock
from beholder.draining.heartbeat import HeartbeatWriter
from beholder.errors import BackendUnavailable
from beholder.scaling.heartbeats import read_heartbeats, write_heartbeat
from beholder.scaling.policy.observation import InstanceState
from beholder.store.memory import MemoryStore

IDLE, BUSY = (InstanceState.IN_SERVICE, False), (InstanceState.IN_SERVICE, True)
DRAINING = (InstanceState.DRAINING, False)


class Scene:
    """A worker whose heartbeats go into a list; a broken store takes none."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.written: list[tuple[InstanceState, bool]] = []
        self.idle_since_s: float | None = 0.0
        self.is_broken = False
        self.heartbeats = HeartbeatWriter(
            self._write, lambda: self.idle_since_s, self.clock, every_s=60.0, flip_s=10.0
        )

    def _write(self, state: InstanceState, is_busy: bool) -> None:  # noqa: FBT001 -- as the writer calls it
        if self.is_broken:
            raise BackendUnavailable("store", "put", "away")
        self.written.append((state, is_busy))

    def runs(self, seconds: float) -> None:
        end_s = self.clock.now_s() + seconds
        while self.clock.now_s() < end_s:
            self.clock.advance(self.heartbeats.tick())


def test_the_first_heartbeat_is_written_at_once_and_says_idle() -> None:
    scene = Scene()
    scene.idle_since_s = None
    scene.heartbeats.tick()
    assert scene.written == [IDLE]


def test_an_unchanged_worker_writes_a_heartbeat_a_minute() -> None:
    scene = Scene()
    scene.runs(10 + 10 * 60)
    assert scene.written == [IDLE] * 11


def test_a_worker_that_flips_all_the_time_writes_one_heartbeat_in_ten_seconds() -> None:
    # given
    scene = Scene()
    # when: it is busy in every other second
    for second in range(100):
        scene.idle_since_s = None if second % 2 else 0.0
        scene.runs(1.0)
    # then
    assert len(scene.written) <= 11


def test_draining_is_stored_when_announce_returns_however_fresh_the_last_heartbeat_is() -> None:
    scene = Scene()
    scene.heartbeats.announce("in_service")
    scene.heartbeats.announce("draining")
    assert scene.written == [IDLE, DRAINING]
    scene.heartbeats.announce("in_service")
    assert scene.written == [IDLE, DRAINING, IDLE]


def test_an_announcement_that_could_not_be_stored_is_an_error_and_changes_nothing() -> None:
    # given
    scene = Scene()
    scene.heartbeats.announce("in_service")
    # when
    scene.is_broken = True
    with pytest.raises(BackendUnavailable):
        scene.heartbeats.announce("draining")
    # then: it still serves, and the announcement can be tried again
    scene.is_broken = False
    scene.idle_since_s = None
    scene.runs(11)
    assert scene.written == [IDLE, BUSY]
    scene.heartbeats.announce("draining")
    assert scene.written[-1] == DRAINING


def test_a_draining_worker_writes_no_other_state() -> None:
    scene = Scene()
    scene.heartbeats.announce("draining")
    scene.idle_since_s = None
    scene.runs(130)
    assert set(scene.written) == {DRAINING}
    assert len(scene.written) == 3


def test_the_last_heartbeat_says_draining_and_a_broken_store_does_not_hinder_the_end() -> None:
    scene = Scene()
    scene.heartbeats.tick()
    scene.heartbeats.end()
    assert scene.written == [IDLE, DRAINING]
    other = Scene()
    other.is_broken = True
    other.heartbeats.end()
    assert other.written == []


def test_a_heartbeat_that_could_not_be_stored_is_stored_at_the_next_pass() -> None:
    scene = Scene()
    scene.is_broken = True
    with pytest.raises(BackendUnavailable):
        scene.heartbeats.tick()
    scene.is_broken = False
    scene.heartbeats.tick()
    assert scene.written == [IDLE]


def test_the_controller_reads_what_the_worker_wrote() -> None:
    store = MemoryStore()
    heartbeats = HeartbeatWriter(
        lambda state, is_busy: write_heartbeat(store, "worker-0", state, is_busy=is_busy),
        lambda: 0.0,
        ManualClock(),
        every_s=60.0,
        flip_s=30.0,
    )
    heartbeats.announce("draining")
    assert read_heartbeats(store)["worker-0"].state is InstanceState.DRAINING


def test_a_change_of_state_delays_no_heartbeat() -> None:
    scene = Scene()
    scene.heartbeats = HeartbeatWriter(
        scene._write, lambda: scene.idle_since_s, scene.clock, every_s=5.0, flip_s=30.0
    )
    scene.runs(1)
    assert scene.written == [IDLE]
    for idle_since_s, condition in ((None, BUSY), (0.0, IDLE)):
        scene.idle_since_s = idle_since_s
        scene.runs(6)
        assert scene.written[-1] == condition


def test_the_first_heartbeat_that_says_busy_waits_for_nothing() -> None:
    """The controller learns the arrival rate from the busy instances, and a burst fills a new one at once."""
    scene = Scene()
    scene.runs(1)
    for idle_since_s, written in ((None, [IDLE, BUSY]), (0.0, [IDLE, BUSY]), (None, [IDLE, BUSY])):
        scene.idle_since_s = idle_since_s
        scene.runs(1)
        assert scene.written == written
