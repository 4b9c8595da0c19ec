"""A worker leaves when it has been idle, the queue is empty and the controller knows."""

import math
from dataclasses import replace

import pytest

from beholder.clock import ManualClock
from beholder.draining.protocol import (
    Announced,
    DrainDecision,
    DrainLimits,
    DrainProtocol,
    DrainState,
    FinalPoll,
    IdleTimeout,
    decision_on,
)
from beholder.errors import BackendUnavailable
from beholder.queue.port import Depth

IDLE_S = 100.0
LIMITS = DrainLimits(lag_s=12.0, check_every_s=5.0, retry_s=15.0, in_flight_s_max=60.0)
EMPTY = Depth(0, 0, 0)


class Scene:
    """A worker, its queue and its controller, as the protocol sees them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.depth = EMPTY
        self.events: list[str] = []
        self.broken: set[str] = set()
        self.is_paused = False
        self.is_empty = True
        self.is_young = False
        self.is_older_there = True
        self.idle_since_s: float | None = self.clock.now_s()
        self.final_poll: FinalPoll | None = None
        self.timeout = IdleTimeout(IDLE_S)
        self.protocol = DrainProtocol(
            self,
            self,
            depth=self.check,
            announce=self.announce,
            leave=self.leave,
            clock=self.clock,
            limits=LIMITS,
        )

    # --- the worker ---

    def pause(self) -> None:
        self.is_paused = True
        self.events.append("pause")

    def resume(self) -> None:
        self.is_paused = False
        self.events.append("resume")

    def drain(self) -> None:
        self.events.append("drain")

    @property
    def is_paused_and_empty(self) -> bool:
        return self.is_paused and self.is_empty

    # --- its rule ---

    def decide(self, idle_s: float) -> DrainDecision:
        return replace(self.timeout.decide(idle_s), needs_check=not self.is_young)

    def is_final_check_needed(self) -> bool:
        self._do("list")
        return not self.is_older_there

    def before_exit(self) -> None:
        self.events.append("store")

    # --- the queue and the controller ---

    def _do(self, what: str) -> None:
        if what in self.broken:
            raise BackendUnavailable("queue", what, "away")
        self.events.append(what)

    def check(self) -> Depth:
        self._do("check")
        return self.depth

    def announce(self, state: Announced) -> None:
        self._do(state)

    def leave(self) -> None:
        self._do("leave")

    # --- time ---

    def run(self, seconds: float) -> None:
        """Tick as the runner does, until the time is over or the worker has left."""
        until_s = self.clock.now_s() + seconds
        while self.clock.now_s() < until_s and self.protocol.state is not DrainState.LEFT:
            self.clock.advance(max(self.protocol.tick(), 0.1))

    def run_until(self, state: DrainState) -> None:
        for _ in range(1000):
            if self.protocol.state is state:
                return
            self.clock.advance(max(self.protocol.tick(), 0.1))
        pytest.fail(f"never {state}")


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- decisions ----------------------------------------------------------------------------------------------


def test_a_worker_whose_idle_timeout_is_infinite_never_leaves() -> None:
    assert not IdleTimeout(math.inf).decide(1e9).leaves


def test_a_worker_leaves_after_its_idle_timeout() -> None:
    rule = IdleTimeout(60.0)
    assert not rule.decide(59.9).leaves
    assert rule.decide(60.0) == DrainDecision(leaves=True, reason="idle for 60 s of 60 s")


@pytest.mark.parametrize(
    ("depth", "put_off_s", "leaves"),
    [
        (EMPTY, 0.0, True),
        (Depth(1, 0, 0), 0.0, False),
        (Depth(1, 0, 0), 1e9, False),
        (Depth(0, 0, 1), 1e9, False),
        (Depth(0, 1, 0), 0.0, False),
        (Depth(0, 1, 0), 59.9, False),
        (Depth(0, 1, 0), 60.0, True),
        (Depth(1, 1, 0), 60.0, False),
    ],
)
def test_one_message_is_enough_to_stay(depth: Depth, put_off_s: float, leaves: bool) -> None:  # noqa: FBT001
    assert decision_on(depth, put_off_s=put_off_s, in_flight_s_max=60.0).leaves is leaves


# --- the protocol -------------------------------------------------------------------------------------------


def test_a_worker_announces_then_pauses_then_checks_and_leaves_after_the_last_check(scene: Scene) -> None:
    # when
    scene.run(500)
    # then: it checks 0, 5, 10 and 12 s after it was empty
    assert scene.events == [
        "in_service",
        "draining",
        "pause",
        "check",
        "check",
        "check",
        "check",
        "store",
        "leave",
    ]
    assert scene.protocol.state is DrainState.LEFT
    # and: nothing follows
    scene.protocol.tick()
    assert scene.events[-1] == "leave"


def test_after_an_empty_final_poll_one_check_is_enough(scene: Scene) -> None:
    scene.final_poll = FinalPoll.EMPTY
    scene.run(IDLE_S + 2)
    assert scene.events == ["in_service", "draining", "pause", "check", "store", "leave"]


def test_a_worker_whose_final_poll_found_a_message_serves_on(scene: Scene) -> None:
    scene.final_poll = FinalPoll.FOUND
    scene.run(IDLE_S + 2)
    assert scene.events == ["in_service", "draining", "pause", "resume", "in_service"]


def test_a_younger_worker_leaves_without_a_check_if_it_saw_an_older_one_after_its_announcement(
    scene: Scene,
) -> None:
    # given
    scene.is_young, scene.depth = True, Depth(5, 5, 0)
    # when
    scene.run(IDLE_S + 1)
    # then
    assert scene.events == ["in_service", "draining", "pause", "list", "store", "leave"]


def test_a_younger_worker_checks_the_queue_itself_once_the_older_ones_have_gone(scene: Scene) -> None:
    # given
    scene.is_young, scene.is_older_there, scene.depth = True, False, Depth(1, 0, 0)
    # when
    scene.run(IDLE_S + 1)
    # then
    assert scene.events[1:6] == ["draining", "pause", "list", "check", "resume"]


def test_a_younger_worker_that_cannot_list_the_others_serves_on(scene: Scene) -> None:
    # given
    scene.is_young, scene.broken = True, {"list"}
    # when
    with pytest.raises(BackendUnavailable):
        scene.run(IDLE_S + 1)
    # then
    assert scene.events[-1] == "resume"
    assert scene.protocol.state is DrainState.SERVING


def test_a_worker_stays_for_as_long_as_its_rule_says(scene: Scene) -> None:
    scene.run(IDLE_S - 1)
    assert scene.events == ["in_service"]


def test_a_busy_worker_stays(scene: Scene) -> None:
    scene.idle_since_s = None
    scene.run(1000)
    assert scene.events == ["in_service"]


def test_a_worker_does_not_check_the_queue_while_a_receive_is_running(scene: Scene) -> None:
    # given
    scene.is_empty = False
    # when
    scene.run(200)
    # then
    assert scene.protocol.state is DrainState.ANNOUNCED
    assert scene.events == ["in_service", "draining", "pause"]
    # and when
    scene.is_empty = True
    scene.run_until(DrainState.LEFT)
    assert scene.events[-1] == "leave"


@pytest.mark.parametrize("depth", [Depth(1, 0, 0), Depth(0, 1, 0), Depth(0, 0, 1)])
def test_a_worker_that_sees_work_serves_before_it_announces_so(scene: Scene, depth: Depth) -> None:
    # given
    scene.depth = depth
    # when
    scene.run_until(DrainState.CHECKING)
    scene.run_until(DrainState.SERVING)
    scene.protocol.tick()
    # then
    assert scene.events == ["in_service", "draining", "pause", "check", "resume", "in_service"]


def test_work_that_lagging_counts_show_late_is_seen(scene: Scene) -> None:
    # given: the counts lag
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.clock.advance(LIMITS.lag_s)
    scene.depth = Depth(1, 0, 0)
    # when
    scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.SERVING
    assert not scene.is_paused


def test_a_worker_serves_for_a_while_between_two_attempts_to_leave(scene: Scene) -> None:
    # given
    scene.depth = Depth(1, 0, 0)
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.depth = EMPTY
    # when
    scene.run(LIMITS.retry_s - 1)
    # then
    assert scene.protocol.state is DrainState.SERVING
    # and when
    scene.run(2)
    assert scene.protocol.state is DrainState.CHECKING


def test_messages_in_flight_elsewhere_put_leaving_off_but_not_for_ever(scene: Scene) -> None:
    # given
    scene.depth = Depth(0, 3, 0)
    # when
    scene.run_until(DrainState.LEFT)
    # then
    assert scene.events.count("resume") == 4
    idle_s = scene.clock.now_s() - (scene.idle_since_s or 0)
    assert IDLE_S + LIMITS.in_flight_s_max <= idle_s < IDLE_S + LIMITS.in_flight_s_max + 2 * LIMITS.retry_s


def test_a_message_of_its_own_restarts_the_time_that_others_can_put_it_off(scene: Scene) -> None:
    # given: leaving was put off for nearly as long as allowed
    scene.depth = Depth(0, 3, 0)
    scene.run(IDLE_S + LIMITS.in_flight_s_max - 1)
    assert scene.protocol.state is DrainState.SERVING
    # when: it had a message meanwhile
    scene.idle_since_s = scene.clock.now_s() - 0.5
    scene.run(IDLE_S + LIMITS.in_flight_s_max - 1)
    # then
    assert "leave" not in scene.events


def test_a_queue_that_cannot_be_checked_keeps_the_worker_in_service(scene: Scene) -> None:
    # given
    scene.broken = {"check"}
    scene.run_until(DrainState.CHECKING)
    # when
    with pytest.raises(BackendUnavailable):
        scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.SERVING
    assert not scene.is_paused
    # and when
    scene.broken = set()
    scene.run_until(DrainState.LEFT)
    assert scene.events[-1] == "leave"


def test_a_worker_that_cannot_announce_does_not_drain(scene: Scene) -> None:
    # given
    scene.run(IDLE_S - 1)
    scene.broken = {"draining"}
    # when
    scene.clock.advance(2)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            scene.protocol.tick()
    # then
    assert not scene.is_paused
    # and when
    scene.broken = set()
    scene.protocol.tick()
    assert scene.events == ["in_service", "draining", "pause"]


def test_an_exit_that_failed_is_tried_again(scene: Scene) -> None:
    # given
    scene.broken = {"leave"}
    scene.run_until(DrainState.CHECKING)
    scene.protocol.tick()
    scene.clock.advance(LIMITS.lag_s)
    with pytest.raises(BackendUnavailable):
        scene.protocol.tick()
    # when
    scene.broken = set()
    scene.protocol.tick()
    # then
    assert scene.events[-1] == "leave"
    assert scene.protocol.state is DrainState.LEFT


# --- interruptions ------------------------------------------------------------------------------------------


def test_an_interrupted_worker_hands_back_at_once_and_leaves_without_a_check(scene: Scene) -> None:
    # given: a busy worker
    scene.idle_since_s, scene.is_empty = None, False
    scene.protocol.tick()
    # when
    scene.protocol.interrupt()
    # then
    assert scene.events == ["in_service", "pause", "drain"]
    # and when
    scene.run(1)
    assert scene.protocol.state is DrainState.SERVING
    scene.is_empty = True
    scene.run_until(DrainState.LEFT)
    # then
    assert "draining" in scene.events
    assert "check" not in scene.events
    assert scene.events.count("leave") == 1


def test_an_interrupted_worker_skips_the_checks(scene: Scene) -> None:
    # given
    scene.run_until(DrainState.CHECKING)
    scene.depth = Depth(5, 5, 5)
    # when
    scene.protocol.interrupt()
    scene.protocol.tick()
    # then
    assert scene.protocol.state is DrainState.LEFT


def test_an_interrupted_worker_leaves_unannounced_if_it_must(scene: Scene) -> None:
    scene.protocol.tick()
    scene.broken = {"draining"}
    scene.protocol.interrupt()
    scene.protocol.tick()
    assert scene.protocol.state is DrainState.LEFT


def test_a_resume_that_crosses_a_notice_is_undone(scene: Scene) -> None:
    # given
    scene.protocol.interrupt()
    scene.is_paused = False  # as by the thread that ticks, which had not seen the notice yet
    # when
    scene.protocol.tick()
    # then
    assert scene.is_paused
    assert scene.protocol.state is DrainState.LEFT
