"""A startup is reported once, in seconds since the launch, also if the store fails at first."""

import json
from pathlib import Path

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.fleet.startup import StartupReport

LAUNCHED_S = 1_000.0


class FailingOnce:
    def __init__(self) -> None:
        self.objects: list[tuple[str, dict[str, float]]] = []
        self._failures = 1

    def put(self, key: str, data: bytes) -> None:
        if self._failures:
            self._failures -= 1
            raise BackendUnavailable("output bucket", "put", "it does not answer")
        self.objects.append((key, json.loads(data)))


def test_the_steps_are_in_seconds_since_the_launch_and_told_once(tmp_path: Path) -> None:
    # given: a machine whose kernel began before the launch, as a container's does
    stamps = tmp_path / "stamps"
    stamps.write_text(
        f"user_data {LAUNCHED_S + 8}\nlaunched {LAUNCHED_S}\nkernel 5.0\nstarted {LAUNCHED_S + 12}\n"
    )
    clock, store = ManualClock(LAUNCHED_S + 14), FailingOnce()
    report = StartupReport(stamps, "i-1", store.put, clock)
    clock.advance(0.5)
    # when
    with pytest.raises(BackendUnavailable):
        report.tick()
    clock.advance(30)
    report.tick()
    report.tick()
    # then
    steps = {"launched": 0.0, "user_data": 8.0, "started": 12.0, "warm": 14.0, "receiving": 14.5}
    assert store.objects == [("fleet/startups/i-1.json", steps)]
    assert list(store.objects[0][1]) == list(steps)
