"""What the fleet costs, in the log: at most once a minute, whatever the clock does."""

import logging

import pytest

from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.records.spend_log import SpendLog

NOON_S = 1_772_366_400.0


def record(at_s: float, *prices: float) -> Record:
    instances = tuple(
        InstanceSeen(f"i-{n}", InstanceState.IN_SERVICE, NOON_S, price_per_hour=price)
        for n, price in enumerate(prices)
    )
    seen = Observation(at_s, 0, instances=instances)
    return Record.of(seen, decide(seen, PolicyState(), Limits())[0], leader="web-0")


def told(caplog: pytest.LogCaptureFixture, *records: Record) -> list[float]:
    caplog.set_level(logging.INFO)
    log = SpendLog()
    for one in records:
        log.write(one)
    lines = [one for one in caplog.records if getattr(one, "action", "") == "controller.spend"]
    return [getattr(one, "facts")["price_per_hour"] for one in lines]  # noqa: B009 -- set by log_event


def test_the_price_is_that_of_all_instances(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, record(NOON_S, 0.041, 0.103)) == [0.144]


def test_a_fleet_of_none_costs_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, record(NOON_S)) == [0.0]


def test_ticks_within_a_minute_share_a_line(caplog: pytest.LogCaptureFixture) -> None:
    ticks = [record(NOON_S + 5 * n, 0.1 * n) for n in range(25)]
    assert told(caplog, *ticks) == [0.0, 1.2, 2.4]


def test_a_clock_that_went_back_does_not_silence_it(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, record(NOON_S, 0.1), record(NOON_S - 3600, 0.2)) == [0.1, 0.2]
