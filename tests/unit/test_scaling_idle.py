"""The idle rule of a worker that knows its own busy share and who is older."""

from math import inf

import pytest

from beholder.scaling.idle import BusyShare, IdleSettings, Peers, idle_limit_s, is_last_look_needed

RULE = IdleSettings(boot_s=200.0, latency_goal_s=30.0)


def stays_s(share: float, count: int, older: int, rule: IdleSettings = RULE) -> float:
    return idle_limit_s(rule, BusyShare(share, 0.0), Peers(count, older), service_s=0.5).seconds


def test_of_five_workers_with_a_load_of_three_the_two_youngest_leave() -> None:
    leave = [older for older in range(5) if stays_s(0.6, 5, older) == 0]
    assert leave == [3, 4]


def test_a_fleet_that_just_fell_idle_leaves_one_after_the_other() -> None:
    limits = [stays_s(1.0, 10, older) for older in range(10)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == 100.0
    assert 0 < limits[9] < 10


def test_the_last_worker_stays_while_messages_come_within_a_boot() -> None:
    # half a second of work each 60 s, or each half an hour
    assert stays_s(0.5 / 60, 1, 0) > 60
    assert stays_s(0.5 / 1800, 1, 0) == 0


def test_the_last_look_is_a_part_of_the_last_one_s_stay() -> None:
    looks = IdleSettings(look_s=65.0)
    share = 0.5 / 60
    assert stays_s(share, 1, 0, looks) == pytest.approx(stays_s(share, 1, 0) - 65.0)
    # it is no part of the longest stay, nor of a younger one's, which does not look
    assert stays_s(1.0, 1, 0, looks) == looks.longest_s
    assert stays_s(1.0, 3, 2, looks) == stays_s(1.0, 3, 2)


def test_a_goal_that_does_not_tolerate_a_boot_wants_more() -> None:
    hasty = IdleSettings(boot_s=200.0, latency_goal_s=30.0, boot_patience=0.0)
    assert hasty.longest_s == 200.0
    assert stays_s(0.5, 3, 1, hasty) > stays_s(0.5, 3, 1)


def test_the_longest_stay_is_a_setting() -> None:
    assert stays_s(1.0, 1, 0, IdleSettings(idle_s_max=7.0)) == 7.0


def test_the_oldest_stay_where_a_minimum_is_kept() -> None:
    rule = IdleSettings(stay_min=2)
    assert [stays_s(0.0, 4, older, rule) for older in range(4)] == [inf, inf, 0.0, 0.0]


def test_the_busy_share_follows_what_the_worker_does() -> None:
    share = BusyShare(0.0, 0.0).after(60.0, 60.0, is_busy=True)
    assert share.share == pytest.approx(0.632, abs=0.001)
    assert share.after(120.0, 60.0, is_busy=False).share == pytest.approx(0.233, abs=0.001)


def test_only_the_last_one_has_to_look_once_more() -> None:
    assert is_last_look_needed(Peers(1, 0))
    assert not is_last_look_needed(Peers(3, 2))
