"""The last record: when it is written, what comes back, and what one leader takes over from another."""

from dataclasses import replace
from typing import Any

import pytest

from beholder.errors import BackendUnavailable
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.policy.decision import Termination
from beholder.scaling.policy.learnt import Learnt, LearntService
from beholder.scaling.records.snapshot import SNAPSHOT_KEY, FleetSnapshot, LatestRecord, Tee, read_last
from beholder.store import MemoryStore

NOON_S = 1_772_366_400.0
IDLE, BUSY = (InstanceState.IN_SERVICE, False), (InstanceState.IN_SERVICE, True)
DRAINING = (InstanceState.DRAINING, False)
Condition = tuple[InstanceState, bool]
GONE = Termination("i-9", "startup", "It gave no heartbeat.")


def record(
    at_s: float = NOON_S, conditions: tuple[Condition, ...] = (), leader: str = "web-0", **more: Any
) -> Record:
    instances = tuple(
        InstanceSeen(
            f"i-{n}", state, NOON_S - 500, NOON_S - 300, NOON_S - 2, "c7a.large", True, 0.05, is_busy
        )
        for n, (state, is_busy) in enumerate(conditions)
    )
    seen = Observation(at_s, 5 * len(conditions), instances=instances)
    decision, _ = decide(seen, PolicyState(), Limits())
    return replace(Record.of(seen, decision, leader=leader), **more)


class Counted(MemoryStore):
    """Counts the puts, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.is_away = False

    def put(self, key: str, data: bytes, **more: Any) -> None:
        if self.is_away:
            raise BackendUnavailable("memory store", "put")
        self.puts += 1
        super().put(key, data, **more)


def found(store: MemoryStore) -> FleetSnapshot:
    last = read_last(store)
    assert last is not None
    return last


def test_where_no_controller_ever_led_there_is_nothing() -> None:
    assert read_last(MemoryStore()) is None


def test_a_record_comes_back_with_its_instances() -> None:
    # given
    store = MemoryStore()
    learnt = Learnt((40.0, 41.5), (LearntService("c7a.large", 0.3, 7),), 2.5, 1.5)
    one = record(conditions=(BUSY, DRAINING), launched=("i-7",), refused="no room")
    one = replace(one, learnt=learnt)
    # when
    LatestRecord(store).write(one)
    # then
    last = found(store)
    assert last.record == one
    assert last.record.instances == one.instances
    assert last.record.learnt == learnt
    assert len(last.record.instances) == 2


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"version":9}', b'{"version":1,"record":3}'])
def test_what_cannot_be_read_counts_as_nothing_and_is_replaced(data: bytes) -> None:
    # given
    store = MemoryStore()
    store.put(SNAPSHOT_KEY, data)
    # then
    assert read_last(store) is None
    # when
    LatestRecord(store).write(record())
    # then
    assert found(store).record == record()


def test_a_change_is_written_at_once_and_a_quiet_fleet_once_a_minute() -> None:
    # given
    store = Counted()
    sink = LatestRecord(store)
    # when: ten minutes of ticks, of which one changes the fleet, and back
    for tick in range(120):
        sink.write(record(NOON_S + tick * 5, (IDLE,) if tick == 30 else ()))
        assert found(store).record.states == ({"in_service": 1} if tick == 30 else {})
    # then
    assert store.puts == 12


def test_two_instances_that_swap_their_states_are_news() -> None:
    store = Counted()
    sink = LatestRecord(store)
    sink.write(record(NOON_S, (IDLE, BUSY)))
    sink.write(record(NOON_S + 5, (BUSY, IDLE)))
    assert [one.is_busy for one in found(store).record.instances] == [True, False]


def test_a_store_that_is_away_fails_no_tick_and_is_tried_again_at_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # given
    store = Counted()
    sink = LatestRecord(store)
    sink.write(record(NOON_S))
    # when
    store.is_away = True
    sink.write(record(NOON_S + 5, (IDLE,)))
    store.is_away = False
    sink.write(record(NOON_S + 10, (IDLE,)))
    # then
    assert found(store).record.at_s == NOON_S + 10
    assert [one.__dict__["action"] for one in caplog.records] == ["snapshot.unwritten"]


def test_the_next_leader_goes_on_counting() -> None:
    # given
    store = MemoryStore()
    first, second = LatestRecord(store), LatestRecord(store)
    first.write(record(NOON_S, launched=("i-1", "i-2"), terminated=(GONE,)))
    # when: the second leads, and then the first again
    second.write(record(NOON_S + 60, leader="web-1", launched=("i-3",), refused="no room"))
    first.write(record(NOON_S + 120, launched=("i-4",), terminated=(replace(GONE, id="i-4"),)))
    # then
    last = found(store)
    assert last.record.leader == "web-0"
    assert last.launched_total == 4
    assert last.terminated_total == {"startup": 2}
    assert [(one.at_s - NOON_S, one.termination.id) for one in last.terminations] == [
        (120, "i-4"),
        (0, "i-9"),
    ]
    assert [(one.at_s - NOON_S, one.why) for one in last.refusals] == [(60, "no room")]


def test_the_past_is_bounded_and_a_refusal_that_is_repeated_counts_once() -> None:
    # given
    store = MemoryStore()
    sink = LatestRecord(store)
    # when
    for n in range(30):
        sink.write(record(NOON_S + n * 60, refused="no room", terminated=(replace(GONE, id=f"i-{n}"),)))
    # then
    last = found(store)
    assert [one.termination.id for one in last.terminations] == [f"i-{n}" for n in range(29, 19, -1)]
    assert [one.at_s for one in last.refusals] == [NOON_S + 29 * 60]


def test_it_is_stale_after_three_periods() -> None:
    store = MemoryStore()
    LatestRecord(store, every_s=60).write(record(NOON_S))
    assert not found(store).is_stale(NOON_S + 180)
    assert found(store).is_stale(NOON_S + 181)
    assert found(store).age_s(NOON_S - 5) == 0


def test_several_sinks_get_each_record() -> None:
    stores = MemoryStore(), MemoryStore()
    Tee(*(LatestRecord(one) for one in stores)).write(record())
    assert [found(one).record for one in stores] == [record(), record()]
