"""How long a worker stays idle that knows its own busy share and its seniority."""

from dataclasses import replace
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
from beholder.scaling.policy.limits import Aim

RULE = IdleSettings(startup_s=200.0, latency_goal_s=30.0, aim=Aim.DEADLINE)
STEADY = replace(RULE, aim=Aim.STEADY)


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
    rule = IdleSettings(aim=Aim.DEADLINE, stay_s_min=15.0)
    share = 0.5 / 1800
    assert stays_s(share, 1, 0, rule) == 15.0
    # the minimum does not hold for a younger worker, and adds nothing to a longer stay
    assert stays_s(share, 3, 2, rule) == 0.0
    assert stays_s(1.0, 1, 0, rule) == rule.longest_s


def test_the_least_stay_is_no_more_than_half_a_startup() -> None:
    short = IdleSettings(startup_s=10.0, aim=Aim.DEADLINE, stay_s_min=15.0)
    assert stays_s(0.5 / 1800, 1, 0, short) == 5.0


def test_nobody_leaves_while_the_first_minute_is_paid_for() -> None:
    rule = IdleSettings(startup_s=10.0, aim=Aim.DEADLINE, bill_s_min=60.0)
    ages = [(20.0, 1), (20.0, 0), (70.0, 1)]
    assert [
        idle_limit_s(
            rule, BusyShare(0.0, 0.0), Seniority(older + 1, older), service_s=0.5, age_s=age_s
        ).seconds
        for age_s, older in ages
    ] == [40.0, 29.0, 0.0]


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
    assert (STEADY.longest_s, RULE.longest_s) == (200.0, 100.0)
    assert stays_s(0.9, 3, 1, STEADY) > stays_s(0.9, 3, 1)


def test_with_the_aim_steady_a_worker_leaves_only_where_the_older_ones_have_one_free_at_most_times() -> None:
    # a load of 3 of 5: four serve it with little to spare, three not at all
    assert [older for older in range(5) if stays_s(0.6, 5, older) == 0] == [3, 4]
    assert [older for older in range(5) if stays_s(0.6, 5, older, STEADY) == 0] == []
    assert [older for older in range(5) if stays_s(0.55, 5, older, STEADY) == 0] == [4]


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
