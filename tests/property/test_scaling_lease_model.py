"""Never two controllers act on one fleet, and one takes over in time: under delays, drift and death.

Each holder runs in a thread of its own, and only the one whose turn it is runs: a call of the store lets the
others run before it lands and after it. Clocks run a few percent fast or slow; holders die, or sleep, also
between two calls of the store.
"""

import contextlib
import heapq
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.errors import BackendUnavailable, ObjectExists, ObjectNotFound
from beholder.scaling.lease import StoreLease
from beholder.store import ObjectInfo

pytestmark = pytest.mark.pure

PERIOD_S = 15.0
DRIFT = 0.03
START_S = 1000.0


class Over(BaseException):
    """The play is over for this holder."""


@dataclass
class Stage:
    """The true time, and whose turn it is."""

    end_s: float
    now_s: float = START_S
    due: list[tuple[float, int, threading.Event]] = field(default_factory=list)
    turn: threading.Event = field(default_factory=threading.Event)

    def wait(self, number: int, seconds: float) -> None:
        """Let the others go on until so much time has passed."""
        event = threading.Event()
        heapq.heappush(self.due, (self.now_s + seconds, number, event))
        self.turn.set()
        event.wait()
        if self.now_s >= self.end_s:
            raise Over

    def run(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            self.turn.clear()
            thread.start()
            self.turn.wait()
        while self.due:
            self.now_s, _, event = heapq.heappop(self.due)
            self.turn.clear()
            event.set()
            self.turn.wait()
        for thread in threads:
            thread.join()


@dataclass
class Play:
    """What happens to the holders of one run."""

    draw: Random
    delay_s_max: float
    sleeps: float
    answers_lost: float
    first_dies: bool
    objects: dict[str, bytes] = field(default_factory=dict)
    acts: list[tuple[float, float, int]] = field(default_factory=list)
    died_s: float | None = None
    taken_s: float | None = None


class Holder:
    """One controller: a lease on a store of its own view, with a clock of its own speed."""

    def __init__(self, number: int, stage: Stage, play: Play) -> None:
        self.number, self.stage, self.play = number, stage, play
        self.speed = play.draw.uniform(1 - DRIFT, 1 + DRIFT)
        self.lease = StoreLease(self, f"holder-{number}", self, period_s=PERIOD_S)

    # the clock
    def now_s(self) -> float:
        return self.stage.now_s * self.speed

    # the store
    def _pass(self) -> None:
        draw, play = self.play.draw, self.play
        seconds = draw.uniform(0, play.delay_s_max)
        if draw.random() < play.sleeps / 4:
            seconds += draw.uniform(0, draw.choice([4, 40]) * PERIOD_S)
        self.stage.wait(self.number, seconds)

    def _answer(self) -> None:
        self._pass()
        if self.play.draw.random() < self.play.answers_lost:
            raise BackendUnavailable("model", "answer")

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> None:
        assert only_if_absent
        assert metadata is None
        self._pass()
        if key in self.play.objects:
            self._pass()
            raise ObjectExists("model", "put", key)
        self.play.objects[key] = data
        self._answer()

    def get(self, key: str) -> bytes:
        self._pass()
        found = self.play.objects.get(key)
        self._answer()
        if found is None:
            raise ObjectNotFound("model", "get", key)
        return found

    def head(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.get(key)), 0.0)

    def delete(self, key: str) -> None:
        self._pass()
        self.play.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._pass()
        objects = self.play.objects
        found = [ObjectInfo(one, len(objects[one]), 0.0) for one in sorted(objects) if one.startswith(prefix)]
        self._answer()
        return iter(found)

    # its life
    def live(self) -> None:
        try:
            self.stage.wait(self.number, self.play.draw.uniform(0, 3))
            while self._lead_or_follow():
                pause_s = self.lease.poll_s / self.speed
                if self.play.draw.random() < self.play.sleeps:
                    pause_s += self.play.draw.uniform(0, 20 * PERIOD_S)
                self.stage.wait(self.number, pause_s)
        except Over:
            pass
        finally:
            self.stage.turn.set()

    def _lead_or_follow(self) -> bool:
        play, draw = self.play, self.play.draw
        with contextlib.suppress(BackendUnavailable):
            self.lease.hold()
        # It observes and decides, which takes a while, and then asks once more whether it leads.
        self._pass()
        if not self.lease.is_held():
            return True
        began_s = self.stage.now_s
        # What is begun within the term may take a quarter of a period to land.
        play.acts.append((began_s, began_s + draw.uniform(0, PERIOD_S / 4), self.number))
        if play.died_s is not None:
            play.taken_s = play.taken_s or began_s
        elif play.first_dies and began_s > START_S + 120:
            play.died_s = began_s
            return False
        return True


def run(
    seed: int,
    *,
    count: int,
    delay_s_max: float,
    sleeps: float = 0,
    answers_lost: float = 0,
    dies: bool = False,
) -> Play:
    """Return what happened in half an hour; with `dies`, the first leader dies after two minutes."""
    play = Play(Random(seed), delay_s_max, sleeps, answers_lost, dies)
    stage = Stage(START_S + 1800)
    holders = [Holder(number, stage, play) for number in range(count)]
    stage.run([threading.Thread(target=one.live, daemon=True) for one in holders])
    return play


def assert_one_at_a_time(acts: list[tuple[float, float, int]]) -> None:
    ordered = sorted(acts)
    for index, (began_s, ended_s, number) in enumerate(ordered):
        for later_s, _, other in ordered[index + 1 :]:
            if later_s >= ended_s:
                break
            assert other == number, f"{number} acts from {began_s} to {ended_s}, {other} from {later_s}"


@settings(max_examples=80)
@given(
    st.integers(0, 2**32),
    st.integers(2, 4),
    st.floats(0.0, 3.0),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([0.0, 0.02, 0.2]),
)
def test_never_two_act_at_the_same_time(
    seed: int, count: int, delay_s_max: float, sleeps: float, answers_lost: float
) -> None:
    play = run(seed, count=count, delay_s_max=delay_s_max, sleeps=sleeps, answers_lost=answers_lost)
    assert_one_at_a_time(play.acts)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 4), st.floats(0.0, 0.3))
def test_another_one_leads_within_three_periods_after_the_leader_died(
    seed: int, count: int, delay_s_max: float
) -> None:
    play = run(seed, count=count, delay_s_max=delay_s_max, dies=True)
    assert play.died_s is not None
    assert play.taken_s is not None
    assert play.taken_s - play.died_s <= 3 * PERIOD_S
    assert_one_at_a_time(play.acts)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_a_lone_holder_leads_all_the_time(seed: int) -> None:
    play = run(seed, count=1, delay_s_max=0.1)
    began = [began_s for began_s, _, _ in play.acts]
    assert began[0] < START_S + PERIOD_S
    assert max(later - one for one, later in pairwise(began)) < PERIOD_S / 2
