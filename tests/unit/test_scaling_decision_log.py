"""The decision log: what is kept, what is left out, what comes back, and what it says in words."""

from datetime import UTC, datetime

import click
import pytest

from beholder.cli.explain import moment_of
from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.records.decision_log import WHY_PREFIX, DecisionLog, read_records
from beholder.scaling.records.explain import explain, line_of
from beholder.store import MemoryStore

NOON_S = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


def record(at_s: float, backlog: int = 0, states: tuple[InstanceState, ...] = (), **more: object) -> Record:
    instances = tuple(InstanceSeen(f"i-{n}", one, at_s - 500) for n, one in enumerate(states))
    seen = Observation(at_s, backlog, instances=instances)
    decision, _ = decide(seen, PolicyState(), Limits())
    made = Record.of(seen, decision, leader="web-0")
    return Record.from_dict(made.to_dict() | more)


def keys(store: MemoryStore) -> list[str]:
    return [one.key for one in store.list(WHY_PREFIX)]


def test_a_record_comes_back_as_it_was() -> None:
    one = record(
        NOON_S, 5000, (InstanceState.IN_SERVICE, InstanceState.DRAINING), launched=["i-7"], refused="no"
    )
    assert Record.from_dict(one.to_dict()) == one
    assert one.decision.bounds


def test_a_record_of_before_busy_instances_were_counted_is_read() -> None:
    one = record(NOON_S, 5000, ())
    earlier = {name: value for name, value in one.to_dict().items() if name != "busy"} | {"is_dry": False}
    assert Record.from_dict(earlier) == one


@pytest.mark.parametrize("wrong", [{}, {"version": 99}, {"version": 1, "decision": 3}])
def test_what_is_no_record_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="record"):
        Record.from_dict(wrong)


def test_records_are_gathered_and_unchanged_ones_left_out() -> None:
    # given
    clock = ManualClock(NOON_S)
    store = MemoryStore(clock=clock)
    records = DecisionLog(store, "web-0", gather_s=300)
    # when: ten minutes of ticks, and one change
    for tick in range(122):
        clock.advance(5)
        records.write(record(NOON_S + tick * 5, backlog=1 if tick == 30 else 0))
    # then: one PUT each five minutes, the first tick of each, the change and the return
    assert len(keys(store)) == 2
    found = list(read_records(store, NOON_S - 60, NOON_S + 3600))
    assert [one.at_s - NOON_S for one in found] == [0, 150, 155, 305]
    assert len(records.recent()) == 122


def test_a_store_that_is_away_costs_nothing_but_time() -> None:
    class Away(MemoryStore):
        is_away = True

        def put(self, *arguments: object, **options: object) -> None:
            if self.is_away:
                raise BackendUnavailable("memory store", "put")
            super().put(*arguments, **options)

    store = Away()
    records = DecisionLog(store, "web-0", gather_s=0)
    records.write(record(NOON_S))
    store.is_away = False
    records.write(record(NOON_S + 5, 3))
    assert len(list(read_records(store, NOON_S, NOON_S + 60))) == 2


def test_old_records_are_deleted() -> None:
    store = MemoryStore(clock=ManualClock(NOON_S))
    records = DecisionLog(store, "web-0", gather_s=0, keep_days=14)
    records.write(record(NOON_S))
    records.write(record(NOON_S + 15 * 86_400))
    assert [key[:14] for key in keys(store)] == ["why/2026-03-16"]


def test_it_says_what_was_seen_wanted_bounded_and_done() -> None:
    records = [
        record(NOON_S, 1, launched=["i-0"]),
        record(NOON_S + 60, 5000, (InstanceState.PENDING,), refused="no capacity for c7a.large"),
        record(
            NOON_S + 600,
            terminated=[{"id": "i-0", "cause": "startup", "why": "no heartbeat 600 s after its launch"}],
        ),
    ]
    told = explain(records, NOON_S + 120)
    assert "2026-03-01 12:01:00 (web-0)" in told
    assert "5000 visible" in told
    assert "bound      max" in told
    assert "no capacity for c7a.large" in told
    assert "Before that:\n  2026-03-01 12:00:00  launched 1: 1 message to do" in told
    assert "After that:\n  2026-03-01 12:10:00  ended i-0" in told


def test_a_gap_in_the_records_is_told() -> None:
    assert "Nothing is recorded" in explain([], NOON_S)
    assert "60 minutes older" in explain([record(NOON_S)], NOON_S + 3600)


def test_a_quiet_tick_is_told_in_one_line() -> None:
    assert "changed nothing: no message waits" in line_of(record(NOON_S))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("11:03", "2026-03-01T11:03:00+00:00"),
        ("14:03:30", "2026-02-28T14:03:30+00:00"),
        ("2026-02-01T09:00", "2026-02-01T09:00:00+00:00"),
    ],
)
def test_a_time_of_day_is_the_last_one_that_is_past(text: str, moment: str) -> None:
    now = datetime.fromtimestamp(NOON_S, UTC)
    assert moment_of(text, now) == datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize("text", ["25:00", "noon", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        moment_of(text, datetime.fromtimestamp(NOON_S, UTC))
