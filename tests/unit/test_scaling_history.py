"""The history that the dashboard draws: a point a minute, one object, across leaders."""

from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.records.history import HISTORY_KEY, HistoryLog, read_history
from beholder.store.memory import MemoryStore

START_S = 1_772_366_400.0


class Bucket(MemoryStore):
    """Counts the writes, and refuses them while it is full."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(START_S))
        self.puts, self.is_gone = 0, False

    def put(self, key: str, data: bytes, **more: Any) -> None:
        if self.is_gone:
            raise BackendUnavailable("memory store", "put", key)
        self.puts += 1
        super().put(key, data, **more)


def record(at_s: float, backlog: int = 0, **more: Any) -> Record:
    instances = (InstanceSeen("i-1", InstanceState.IN_SERVICE, START_S, price_per_hour=0.04),)
    seen = Observation(START_S + at_s, backlog, 2, instances=instances)
    decision, _ = decide(seen, PolicyState(), Limits(max=4))
    return Record(
        seen.now_s, "web-0", backlog, 2, 0, {"in_service": 1}, 1, decision, instances=instances, **more
    )


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_a_minute_is_one_point_with_its_highest_backlog(bucket: Bucket) -> None:
    log = HistoryLog(bucket)
    for at_s, backlog in ((0, 3), (20, 900), (40, 10), (60, 0)):
        log.write(record(at_s, backlog))
    points = read_history(bucket).points
    assert points.at_s == (START_S,)
    assert (points.backlog, points.in_flight, points.in_service) == ((900,), (2,), (1,))
    assert points.price_per_hour == (0.04,)


def test_a_quiet_fleet_writes_once_in_five_minutes(bucket: Bucket) -> None:
    log = HistoryLog(bucket)
    for minute in range(21):
        log.write(record(60.0 * minute))
    assert bucket.puts == 4
    assert [at - START_S for at in read_history(bucket).points.at_s] == [0, 300, 600, 900]


def test_another_leader_goes_on_and_a_day_is_kept(bucket: Bucket) -> None:
    first, second = HistoryLog(bucket), HistoryLog(bucket)
    first.write(record(0))
    first.flush()
    second.write(record(3600))
    second.flush()
    assert len(read_history(bucket).points.at_s) == 2
    second.write(record(86_401))
    second.flush()
    assert [at - START_S for at in read_history(bucket).points.at_s] == [3600, 86_400]


def test_a_decision_that_launches_is_kept_with_its_reason_and_its_bound(bucket: Bucket) -> None:
    log = HistoryLog(bucket)
    launching = record(0, 100_000, launched=("i-2", "i-3"))
    log.write(launching)
    log.write(record(60))
    oldest = read_history(bucket).decisions[-1]
    assert (oldest.launched, oldest.reason) == (2, launching.decision.reason)
    assert [bound.name for bound in oldest.bounds] == ["max"]


def test_what_the_store_could_not_take_does_not_end_the_controller(bucket: Bucket) -> None:
    log = HistoryLog(bucket)
    bucket.is_gone = True
    log.write(record(0, 100_000, launched=("i-2",)))
    log.write(record(60))
    bucket.is_gone = False
    log.write(record(120))
    found = read_history(bucket)
    assert [at - START_S for at in found.points.at_s] == [60]
    assert found.decisions[-1].launched == 1


@pytest.mark.parametrize("torn", [b"{", b"[]", b'{"version":2}', b'{"version":1,"points":{"at_s":[1]}}'])
def test_a_torn_history_begins_anew(bucket: Bucket, torn: bytes) -> None:
    bucket.put(HISTORY_KEY, torn)
    assert read_history(bucket).points.at_s == ()
