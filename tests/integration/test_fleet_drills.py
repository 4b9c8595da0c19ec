"""What the simulator drills, on real processes: startups fail, capacity is refused, the leader is killed.

The workers are small processes without a model, so that a drill takes seconds. Each shows that the fleet
recovers by itself, and that the trouble did not make it start processes without end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from beholder.fleet import FleetInstance, Launch, LocalFleet
from beholder.scaling.records.snapshot import read_last
from beholder.store.folder import FolderStore
from helpers import fleet_process
from helpers.fleet_process import BROKEN, ROOM, running_fleet

pytestmark = pytest.mark.slow

WAIT_S = 60.0
REFUSALS = 5


def until(reached: Callable[[], bool], what: str, meanwhile: Callable[[], object]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < end_s, f"never happened: {what}"
        meanwhile()


def starts(folder: Path) -> list[str]:
    file = folder / "starts"
    return file.read_text().splitlines() if file.exists() else []


def test_startups_that_fail_for_a_while_are_tried_again_with_pauses_and_recover(tmp_path: Path) -> None:
    (tmp_path / BROKEN).touch()
    with running_fleet(tmp_path, "worker") as fleet:
        # when: every startup fails, several times
        until(lambda: len(starts(tmp_path)) >= 2 * ROOM + 1, "failed startups", fleet.tick)
        assert fleet.in_service == 0
        (tmp_path / BROKEN).unlink()
        # then
        until(lambda: fleet.in_service == ROOM, "a fleet in service", fleet.tick)
    # and: pauses double up to 10 s, so a minute and a half of them allows so many starts of each
    assert len(starts(tmp_path)) <= 14 * ROOM


class Refusing:
    """A fleet that has no capacity for a while."""

    def __init__(self, fleet: LocalFleet) -> None:
        self._fleet = fleet
        self.has_capacity = False
        self.refused = 0

    def describe(self) -> list[FleetInstance]:
        return self._fleet.describe()

    def launch(self, *, count: int, token: str) -> Launch:
        if self.has_capacity:
            return self._fleet.launch(count=count, token=token)
        self.refused += 1
        return Launch((), ("no capacity",))

    def terminate(self, ids: Sequence[str]) -> None:
        self._fleet.terminate(ids)


def test_capacity_that_is_refused_is_asked_for_with_pauses_and_used_when_it_is_back(tmp_path: Path) -> None:
    wrapped: list[Refusing] = []

    def refusing(fleet: LocalFleet) -> Refusing:
        wrapped.append(Refusing(fleet))
        return wrapped[0]

    held: list[str] = []
    with running_fleet(tmp_path, "worker", wrapped=refusing) as fleet:
        (cloud,) = wrapped

        def tick() -> None:
            fleet.tick()
            if fleet.controller.last is not None:
                bounds = fleet.controller.last.decision.bounds
                held.extend(one.why for one in bounds if one.name == "refusal")

        # when
        until(lambda: cloud.refused == REFUSALS, "refusals", tick)
        cloud.has_capacity = True
        # then
        until(lambda: fleet.in_service == ROOM, "a fleet in service", tick)
    # and: it was asked for no more often than that, with pauses between
    assert cloud.refused == REFUSALS
    assert "no capacity" in held[0]
    assert len(starts(tmp_path)) <= 2 * ROOM


def test_a_leader_that_is_killed_is_followed_by_another_that_serves(tmp_path: Path) -> None:
    """The workers of the one that is killed end with it, as processes of one machine do."""
    store = FolderStore(tmp_path / "bucket")
    script = fleet_process.__file__
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", script, "leader", str(tmp_path), name], env=environment
        )

    def is_served_by(name: str) -> bool:
        last = read_last(store)
        if last is None or last.record.leader != name:
            return False
        states = last.record.states
        return states == {"in_service": ROOM}

    def pause() -> None:
        time.sleep(0.05)

    leaders = [start("one")]
    try:
        until(lambda: is_served_by("one"), "a first leader that serves", pause)
        leaders.append(start("other"))
        # when
        leaders[0].send_signal(signal.SIGKILL)
        leaders[0].wait(WAIT_S)
        # then
        until(lambda: is_served_by("other"), "another leader that serves", pause)
    finally:
        for one in leaders:
            one.kill()
            one.wait(WAIT_S)
    # and: each launched its own fleet once
    assert sorted(starts(tmp_path)) == sorted(f"{name}-{n}" for name in ("one", "other") for n in range(ROOM))
