"""Idle gaps: what the last worker learns of the times without a message, and what its successor reads."""

import pytest

from beholder.draining.idle_gaps import IDLE_GAPS_KEY, IdleGaps, read_idle_gaps, write_idle_gaps
from beholder.store.memory import MemoryStore

STARTUP_COST_S = 300.0


def learnt(*idle_gaps_s: float) -> IdleGaps:
    found = IdleGaps()
    for idle_gap_s in idle_gaps_s:
        found = found.after_rest(idle_gap_s, 1)
    return found


def test_no_stay_is_known_before_a_few_gaps_are() -> None:
    assert learnt(10.0, 20.0).stay_s(STARTUP_COST_S) is None
    assert learnt(10.0, 20.0, 30.0).stay_s(STARTUP_COST_S) is not None


def test_gaps_far_longer_than_a_startup_are_not_waited_for() -> None:
    assert learnt(*[3600.0] * 6).stay_s(STARTUP_COST_S) == 0.0


def test_gaps_shorter_than_a_startup_are_waited_for_up_to_the_longest() -> None:
    assert learnt(40.0, 90.0, 120.0, 60.0, 100.0, 110.0).stay_s(STARTUP_COST_S) == 120.0


def test_of_short_and_long_gaps_only_the_short_ones_are_waited_for() -> None:
    assert 20.0 <= (learnt(*[20.0, 3600.0] * 6).stay_s(STARTUP_COST_S) or 0.0) < 60.0


def test_the_latest_gaps_count_most() -> None:
    assert learnt(*[50.0] * 24, *[3600.0] * 20).stay_s(STARTUP_COST_S) == 0.0
    assert learnt(*[3600.0] * 24, *[50.0] * 20).stay_s(STARTUP_COST_S) >= 50.0


def test_no_worker_stays_for_longer_than_three_startups() -> None:
    assert learnt(*[2000.0] * 24).stay_s(STARTUP_COST_S) == 0.0


@pytest.mark.parametrize(("rest_s", "workers"), [(3.0, 1), (60.0, 2)])
def test_a_rest_that_is_short_or_one_of_several_workers_is_no_idle_gap(rest_s: float, workers: int) -> None:
    assert IdleGaps().after_rest(rest_s, workers) == IdleGaps()


def test_a_successor_learns_the_gap_that_it_was_launched_after() -> None:
    # given
    store = MemoryStore()
    write_idle_gaps(store, learnt(60.0).left(1000.0))
    # when
    found = read_idle_gaps(store).after_first(1900.0)
    # then
    assert found.samples_s == (60.0, 900.0)
    # a clock that is behind makes no negative gap
    assert read_idle_gaps(store).after_first(900.0).samples_s == (60.0, 0.0)


def test_the_first_worker_of_all_learns_nothing_from_its_first_message() -> None:
    assert read_idle_gaps(MemoryStore()).after_first(1900.0) == IdleGaps()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version": 2}', b'{"version": 1, "samples_s": 5}'])
def test_unreadable_gaps_count_as_none(data: bytes) -> None:
    store = MemoryStore()
    store.put(IDLE_GAPS_KEY, data)
    assert read_idle_gaps(store) == IdleGaps()


def test_the_number_of_gaps_is_bounded() -> None:
    assert len(learnt(*[60.0] * 1000).samples_s) == 24
