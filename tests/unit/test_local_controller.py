"""The controller of one machine rests while nothing happens, and a message ends the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from beholder.clock import ManualClock
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation
from beholder.scaling.policy.policy import decide
from beholder.scaling.policy.state import PolicyState
from beholder.scaling.records.record import Record
from beholder.wiring.fleet_local import _Watchful

TICK_S = 0.25


def calm_record() -> Record:
    worker = InstanceSeen("worker-0", InstanceState.IN_SERVICE, 0.0, last_heartbeat_at_s=100.0)
    seen = Observation(now_s=100.0, backlog=0, in_flight=0, delayed=0, instances=(worker,))
    decision, _ = decide(seen, PolicyState(), Limits(min=1, max=2))
    return Record.of(seen, decision, leader="up")


class Scene:
    """A controller that finds what a test sets, and a watcher that is told whether a message comes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list[str] = []
        self.last = calm_record()
        self.is_sent = self.is_full = False
        self.watchful = _Watchful(self, SimpleNamespace(watching=self.watching), self.clock)  # type: ignore[arg-type]

    def tick(self) -> float:
        self.events.append("look")
        return TICK_S

    @contextmanager
    def watching(self) -> Iterator[SimpleNamespace]:
        if self.is_full:
            raise OSError("no space left on device")
        self.events.append("watch")
        yield SimpleNamespace(wait=self.wait)

    def wait(self, timeout_s: float) -> bool:
        self.events.append("rest")
        self.clock.advance(0.0 if self.is_sent else timeout_s)
        return self.is_sent

    def pass_for(self, seconds: float) -> list[str]:
        """Return what happens in so much time."""
        self.events.clear()
        end_s = self.clock.now_s() + seconds
        while self.clock.now_s() < end_s:
            self.clock.advance(self.watchful.tick())
        return self.events


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_quiet_fleet_is_looked_at_seldom_and_watched_from_before_the_look(scene: Scene) -> None:
    assert scene.pass_for(3.0) == ["look"] * 12
    assert scene.pass_for(10.0) == ["watch", "look", "rest"] * 5


def test_a_message_ends_the_rest_and_the_looks_are_close_again(scene: Scene) -> None:
    scene.pass_for(10.0)
    scene.is_sent = True
    assert scene.watchful.tick() == 0.0  # the next look comes at once
    assert scene.pass_for(1.0) == ["look"] * 4


@pytest.mark.parametrize(
    "change",
    [
        {"backlog": 1},
        {"in_flight": 1},
        {"delayed": 1},
        {"busy": 1},
        {"states": {"pending": 1}},
        {"states": {"draining": 1, "in_service": 1}},
        {"refused": "no room"},
        {"awaited_s": {"worker-1": 1.0}},
    ],
    ids="-".join,
)
def test_work_or_a_change_of_the_fleet_allows_no_rest(scene: Scene, change: dict[str, object]) -> None:
    scene.pass_for(3.0)
    scene.last = replace(scene.last, **change)  # type: ignore[arg-type]
    assert "rest" not in scene.pass_for(10.0)


def test_where_nothing_can_be_watched_the_looks_stay_close(scene: Scene) -> None:
    scene.pass_for(3.0)
    scene.is_full = True
    assert scene.pass_for(2.0) == ["look"] * 8
