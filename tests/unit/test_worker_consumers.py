"""The consumers of one worker are paused, drained and idle together."""

from pathlib import Path

import pytest

from beholder.draining.protocol import FinalPoll
from beholder.worker.worker import Worker
from helpers.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_paused_worker_receives_nothing_until_it_is_resumed(rig: Rig) -> None:
    # given
    worker = rig.begun()
    message = rig.send(b"cat")
    worker.pause()
    # when
    delay_s = worker.tick()
    # then
    assert delay_s > 0
    assert worker.is_paused_and_empty
    assert rig.recorder.calls == []
    worker.resume()
    worker.tick()
    assert rig.label(message) == "cat"


def test_what_a_receive_returns_after_a_pause_is_processed(rig: Rig) -> None:
    # given: a pause that comes while the worker waits for messages
    worker = rig.begun()
    message = rig.send(b"cat")
    receive = rig.queue.receive
    seen = []

    def paused_meanwhile(**asked: object) -> object:
        worker.pause()
        seen.append(worker.is_paused_and_empty)
        return receive(**asked)  # type: ignore[arg-type]

    rig.queue.receive = paused_meanwhile  # type: ignore[assignment, method-assign]
    # when
    worker.tick()
    # then
    assert seen == [False]
    assert rig.label(message) == "cat"
    assert worker.final_poll is FinalPoll.FOUND
    assert worker.is_paused_and_empty


def test_a_worker_is_idle_from_the_end_of_its_last_batch(rig: Rig) -> None:
    worker = rig.begun()
    assert worker.idle_since_s is not None
    rig.clock.advance(10)
    rig.send(b"cat")
    classify = rig.classifiers["first@1"].classify
    seen = []

    def watched(images: object) -> object:
        seen.append(worker.idle_since_s)
        return classify(images)  # type: ignore[arg-type]

    rig.classifiers["first@1"].classify = watched  # type: ignore[assignment, method-assign]
    worker.tick()
    assert seen == [None]
    assert worker.idle_since_s == rig.clock.now_s()


def test_consumers_are_idle_since_the_last_of_them(rig: Rig) -> None:
    # given
    first, second = rig.begun("worker-0"), rig.begun("worker-1")
    consumers = Worker([first, second])
    rig.clock.advance(10)
    rig.send(b"cat")
    # when
    second.tick()
    # then
    assert first.idle_since_s == rig.clock.now_s() - 10
    assert consumers.idle_since_s == rig.clock.now_s()
    assert list(consumers) == [first, second]


def test_consumers_are_paused_and_empty_when_each_is(rig: Rig) -> None:
    first, second = rig.begun("worker-0"), rig.begun("worker-1")
    consumers = Worker([first, second])
    first.pause()
    assert not consumers.is_paused_and_empty
    consumers.pause()
    assert consumers.is_paused_and_empty
    consumers.resume()
    assert not first.is_paused_and_empty
    consumers.drain()
    rig.send(b"cat")
    for consumer in consumers:
        consumer.tick()
    assert rig.queue.depth().backlog == 1
