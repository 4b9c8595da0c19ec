"""The one loop that sleeps: when it calls, how it pauses after errors, and that it ends."""

import logging
import threading
from collections.abc import Callable

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendDenied, BackendThrottled, BackendUnavailable, BeholderError, ConfigError
from beholder.runner import Runner, persist, run


class FakeStop:
    """An event that is never waited for: it writes down how long the wait would have been.

    Args:
        passes_max: It counts as set after so many passes.
    """

    def __init__(self, passes_max: int) -> None:
        self.waits: list[float] = []
        self._passes_left = passes_max + 1

    def is_set(self) -> bool:
        self._passes_left -= 1
        return self._passes_left == 0

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def waits_of(tick: Callable[[], float], passes: int) -> list[float]:
    stop = FakeStop(passes)
    run("part", tick, stop)  # type: ignore[arg-type]
    return stop.waits


def test_a_pass_says_when_the_next_one_comes() -> None:
    delays = iter([1.0, 0.0, 2.5, -1.0])
    assert waits_of(lambda: next(delays), 4) == [1.0, 2.5]


def test_the_pause_grows_while_errors_go_on_and_no_further_than_its_bound() -> None:
    def fail() -> float:
        raise RuntimeError("again")

    assert waits_of(fail, 7) == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_pass_that_succeeds_makes_the_next_pause_short_again() -> None:
    outcomes = iter([True, True, False, True])

    def tick() -> float:
        if next(outcomes):
            raise BackendUnavailable("sqlite queue", "receive")
        return 0.0

    assert waits_of(tick, 4) == [0.5, 1.0, 0.5]


def test_an_error_of_the_tree_is_a_line_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> float:
        raise BackendUnavailable("sqlite queue", "receive", "it is locked")

    waits_of(fail, 1)
    (record,) = caplog.records
    assert (record.levelno, record.action) == (logging.WARNING, "part.retry")  # type: ignore[attr-defined]
    assert record.facts == {"code": "backend_unavailable", "pause_s": 0.5}  # type: ignore[attr-defined]
    assert record.message == "sqlite queue: receive: it is locked"
    assert record.exc_info is None


def test_any_other_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> float:
        raise ZeroDivisionError("by nought")

    waits_of(fail, 1)
    (record,) = caplog.records
    assert (record.levelno, record.action) == (logging.ERROR, "part.error")  # type: ignore[attr-defined]
    assert record.exc_info is not None


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_exceptions_that_end_a_process_pass(leaving: type[BaseException]) -> None:
    def leave() -> float:
        raise leaving

    with pytest.raises(leaving):
        waits_of(leave, 1)


def test_a_stop_that_came_before_runs_nothing() -> None:
    stop = threading.Event()
    stop.set()
    run("part", lambda: pytest.fail("ran all the same"), stop)


def test_a_stop_ends_every_part_even_in_a_long_sleep() -> None:
    # given
    runner = Runner()
    started = [threading.Event(), threading.Event()]
    names: list[str] = []

    def part(event: threading.Event, delay_s: float) -> Callable[[], float]:
        def tick() -> float:
            names.append(threading.current_thread().name)
            event.set()
            return delay_s

        return tick

    runner.start("slow", part(started[0], 3600.0))
    runner.start("other", part(started[1], 3600.0))
    assert all(event.wait(60) for event in started)
    # when
    runner.stop(timeout_s=60)
    # then
    assert sorted(names) == ["other", "slow"]
    assert not {thread.name for thread in threading.enumerate()} & {"slow", "other"}


def test_a_part_that_hangs_does_not_keep_a_stop_for_ever() -> None:
    # given
    runner, release, entered = Runner(), threading.Event(), threading.Event()

    def hang() -> float:
        entered.set()
        release.wait(120)
        return 0.0

    runner.start("hung", hang)
    assert entered.wait(60)
    # when
    runner.stop(timeout_s=0.0)
    # then: it came back, and the part ends once it can
    release.set()
    runner.stop(timeout_s=60)
    assert "hung" not in {thread.name for thread in threading.enumerate()}


def test_a_notifier_ends_a_sleep_and_a_stop_ends_one_that_has_a_notifier() -> None:
    # given: a part that sleeps for an hour between its passes
    passes: list[int] = []
    has_passed = threading.Semaphore(0)
    notifier = threading.Event()

    def tick() -> float:
        passes.append(len(passes))
        has_passed.release()
        return 3600.0

    runner = Runner()
    runner.start("part", tick, notifier)
    assert has_passed.acquire(timeout=60)
    # when
    notifier.set()
    # then
    assert has_passed.acquire(timeout=60)
    assert passes == [0, 1]
    runner.stop()
    assert not any(thread.name == "part" for thread in threading.enumerate())


class Passing(threading.Event):
    """An event whose waits take no time but on the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self._clock.advance(timeout)
        return self.is_set()


class Flaky:
    """Fails until a time, and then returns 7."""

    def __init__(self, clock: ManualClock, error: BeholderError, until_s: float) -> None:
        self._clock, self._error, self._until_s = clock, error, clock.now_s() + until_s
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self._clock.now_s() < self._until_s:
            raise self._error
        return 7


UNAVAILABLE = BackendUnavailable("instance metadata", "identity", "timed out")
REFUSED = ConfigError("input_queue is refused", may_pass=True)


@pytest.mark.parametrize(
    ("error", "away_s"),
    [(UNAVAILABLE, 290.0), (BackendThrottled("cloudformation", "describe"), 290.0), (REFUSED, 55.0)],
)
def test_a_start_is_repeated_while_an_error_may_pass(error: BeholderError, away_s: float) -> None:
    clock = ManualClock()
    stop, call = Passing(clock), Flaky(clock, error, away_s)
    assert persist("start", call, stop, clock=clock) == 7
    assert call.calls < 100
    # the pauses grow, differ by chance, and have a bound
    assert all(0.25 <= one <= 10.0 for one in stop.waits[:-1])
    assert stop.waits[0] <= 0.5
    assert max(stop.waits) > 2.0
    assert len(set(stop.waits)) == len(stop.waits)


@pytest.mark.parametrize(("error", "limit_s"), [(UNAVAILABLE, 300.0), (REFUSED, 60.0)])
def test_a_start_does_not_wait_for_ever(error: BeholderError, limit_s: float) -> None:
    clock = ManualClock()
    begun_s = clock.now_s()
    with pytest.raises(type(error)):
        persist("start", Flaky(clock, error, 1e9), Passing(clock), clock=clock)
    assert clock.now_s() - begun_s == pytest.approx(limit_s, abs=0.01)


@pytest.mark.parametrize(
    "error", [ConfigError("port must be 1..65535"), BackendDenied("a", "b"), ValueError("x")]
)
def test_an_error_that_does_not_pass_ends_a_start_at_once(error: Exception) -> None:
    clock = ManualClock()
    stop, call = Passing(clock), Flaky(clock, error, 1e9)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        persist("start", call, stop, clock=clock)
    assert (call.calls, stop.waits) == (1, [])


def test_a_stop_ends_a_start_that_is_tried_again() -> None:
    clock = ManualClock()
    stop = Passing(clock)
    call = Flaky(clock, UNAVAILABLE, 1e9)
    stop.set()
    with pytest.raises(BackendUnavailable):
        persist("start", call, stop, clock=clock)
    assert call.calls == 1
