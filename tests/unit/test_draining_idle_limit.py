"""How long a worker stays idle that knows its own busy share and its seniority."""

from math import inf

import pytest

from beholder.draining.idle_gaps import IdleGaps
from beholder.draining.idle_limit import (
    BusyShare,
    IdleSettings,
    Seniority,
    idle_limit_s,
    is_final_check_needed,
)

RULE = IdleSettings(startup_s=200.0, latency_goal_s=30.0)


def stays_s(share: float, count: int, older: int, rule: IdleSettings = RULE) -> float:
    return idle_limit_s(rule, BusyShare(share, 0.0), Seniority(count, older), service_s=0.5).seconds


def test_of_five_workers_with_a_load_of_three_the_two_youngest_leave() -> None:
    leave = [older for older in range(5) if stays_s(0.6, 5, older) == 0]
    assert leave == [3, 4]


def test_the_workers_of_a_fleet_that_just_fell_idle_leave_one_after_the_other() -> None:
    limits = [stays_s(1.0, 10, older) for older in range(10)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == 100.0
    assert 0 < limits[9] < 10


def test_the_last_worker_stays_while_messages_come_within_a_startup() -> None:
    # half a second of work each 60 s, or each half an hour
    assert stays_s(0.5 / 60, 1, 0) > 60
    assert stays_s(0.5 / 1800, 1, 0) == 0


def test_the_last_worker_stays_until_the_counts_include_its_last_message() -> None:
    rule = IdleSettings(stay_s_min=15.0)
    share = 0.5 / 1800
    assert stays_s(share, 1, 0, rule) == 15.0
    # the minimum does not hold for a younger worker, and adds nothing to a longer stay
    assert stays_s(share, 3, 2, rule) == 0.0
    assert stays_s(1.0, 1, 0, rule) == rule.longest_s


def test_the_last_worker_stays_as_long_as_the_idle_gaps_make_it_worth() -> None:
    hourly, close = IdleGaps((3600.0,) * 5), IdleGaps((50.0, 60.0, 70.0, 80.0))
    assert (
        idle_limit_s(RULE, BusyShare(1.0, 0.0), Seniority(1, 0), service_s=0.5, idle_gaps=hourly).seconds
        == 0.0
    )
    assert (
        idle_limit_s(RULE, BusyShare(0.0, 0.0), Seniority(1, 0), service_s=0.5, idle_gaps=close).seconds
        >= 80.0
    )
    # they do not count for a younger worker, nor with a fixed stay
    assert (
        idle_limit_s(RULE, BusyShare(1.0, 0.0), Seniority(2, 1), service_s=0.5, idle_gaps=hourly).seconds
        > 0.0
    )
    fixed = IdleSettings(idle_s_max=7.0)
    assert (
        idle_limit_s(fixed, BusyShare(1.0, 0.0), Seniority(1, 0), service_s=0.5, idle_gaps=hourly).seconds
        == 7.0
    )


def test_a_worker_stays_longer_where_the_goal_does_not_tolerate_a_startup() -> None:
    impatient = IdleSettings(startup_s=200.0, latency_goal_s=30.0, startup_patience=0.0)
    assert impatient.longest_s == 200.0
    assert stays_s(0.5, 3, 1, impatient) > stays_s(0.5, 3, 1)


def test_the_stay_can_be_fixed() -> None:
    assert stays_s(1.0, 1, 0, IdleSettings(idle_s_max=7.0)) == 7.0


def test_the_oldest_workers_stay_where_a_minimum_is_kept() -> None:
    rule = IdleSettings(stay_min=2)
    assert [stays_s(0.0, 4, older, rule) for older in range(4)] == [inf, inf, 0.0, 0.0]


def test_the_busy_share_follows_what_the_worker_does() -> None:
    share = BusyShare(0.0, 0.0).after(60.0, 60.0, is_busy=True)
    assert share.share == pytest.approx(0.632, abs=0.001)
    assert share.after(120.0, 60.0, is_busy=False).share == pytest.approx(0.233, abs=0.001)


def test_only_the_last_worker_has_to_check_the_queue() -> None:
    assert is_final_check_needed(Seniority(1, 0))
    assert not is_final_check_needed(Seniority(3, 2))
