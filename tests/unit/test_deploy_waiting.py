"""Waiting for AWS: one line is told, and the wait ends by what is awaited, or by its time."""

import pytest

from beholder.clock import ManualClock
from beholder.deploy.waiting import Waiting


@pytest.mark.parametrize(
    ("answers", "holds", "lines"),
    [
        pytest.param([True], True, 0, id="at_once"),
        pytest.param([False, False, True], True, 1, id="after_two_pauses"),
        pytest.param([False] * 5, False, 1, id="never"),
    ],
)
def test_a_wait_tells_once_and_ends(*, answers: list[bool], holds: bool, lines: int) -> None:
    clock, told, left = ManualClock(), [], list(answers)
    waiting = Waiting(clock, clock.advance, told.append)

    assert waiting.until("it is there", lambda: left.pop(0), most_s=12.0) is holds

    assert left == []
    assert told == ["waiting until it is there"] * lines
