"""The event that ends a worker: set by a signal's handler or by a thread, whatever else wakes the wait."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from beholder.cli.stop_event import StopEvent


@pytest.fixture
def stop() -> Iterator[StopEvent]:
    before = signal.getsignal(signal.SIGUSR1), signal.set_wakeup_fd(-1)
    yield StopEvent()
    signal.signal(signal.SIGUSR1, before[0])
    signal.set_wakeup_fd(before[1])


def test_a_signal_before_or_in_a_wait_ends_it(stop: StopEvent) -> None:
    handled: list[int] = []

    def handle(number: int, _: object) -> None:
        handled.append(number)
        if len(handled) == 2:
            stop.set()

    signal.signal(signal.SIGUSR1, handle)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not stop.wait(0)
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
    assert stop.wait(60)
    assert handled == [signal.SIGUSR1] * 2
    assert stop.wait()


def test_a_thread_ends_a_wait_and_what_is_no_signal_to_stop_does_not(stop: StopEvent) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not stop.wait(0.01)
    threading.Thread(target=stop.set).start()
    assert stop.wait(60)
