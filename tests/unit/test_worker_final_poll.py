"""A paused worker makes one final poll, so that no message from before the pause is overlooked."""

import threading
from pathlib import Path

import pytest

from beholder.draining.protocol import FinalPoll
from beholder.errors import BackendUnavailable
from beholder.job import Message
from beholder.worker.consumer import Consumer, SharedPolls
from beholder.worker.worker import Worker
from helpers.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_worker_is_empty_only_after_its_final_poll(rig: Rig) -> None:
    # given
    worker = rig.begun(final_poll_s=0.01)
    # when
    worker.pause()
    # then
    assert not worker.is_paused_and_empty
    assert worker.final_poll is None
    # when
    worker.tick()
    # then
    assert worker.is_paused_and_empty
    assert worker.final_poll is FinalPoll.EMPTY
    # and: one poll is enough
    worker.tick()
    assert rig.recorder.calls == ["queue.receive"]


def test_what_the_final_poll_returns_is_processed(rig: Rig) -> None:
    # given
    worker = rig.begun(final_poll_s=0.01)
    worker.pause()
    message = rig.send(b"cat")
    # when
    worker.tick()
    # then
    assert rig.label(message) == "cat"
    assert worker.final_poll is FinalPoll.FOUND
    # and: in service again, the next pause is another
    worker.resume()
    worker.pause()
    assert worker.final_poll is None
    worker.tick()
    assert worker.final_poll is FinalPoll.EMPTY


def test_a_poll_that_failed_is_made_again(rig: Rig) -> None:
    worker = rig.begun(final_poll_s=0.01)
    worker.pause()
    rig.recorder.failures["queue.receive"] = BackendUnavailable("sqs queue", "receive")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    assert not worker.is_paused_and_empty
    rig.recorder.failures.clear()
    worker.tick()
    assert worker.final_poll is FinalPoll.EMPTY


def test_an_interrupted_worker_polls_no_more(rig: Rig) -> None:
    worker = rig.begun(final_poll_s=0.01)
    worker.pause()
    worker.drain()
    worker.tick()
    assert worker.is_paused_and_empty
    assert rig.recorder.calls == []


def consumers_of(rig: Rig, count: int, **more: float) -> list[Consumer]:
    polls = SharedPolls()
    return [rig.begun(f"worker-{number}", final_poll_s=0.01, polls=polls, **more) for number in range(count)]


def test_one_consumer_polls_for_all(rig: Rig) -> None:
    consumers = consumers_of(rig, 3)
    worker = Worker(consumers)
    worker.pause()
    for consumer in consumers:
        consumer.tick()
    assert rig.recorder.calls == ["queue.receive"]
    assert worker.final_poll is FinalPoll.EMPTY
    assert worker.is_paused_and_empty


def test_a_message_that_comes_while_many_consumers_pause_is_received_once(rig: Rig) -> None:
    # given: more consumers than receives are allowed, each about to poll
    consumers = consumers_of(rig, 5)
    worker = Worker(consumers)
    worker.pause()
    message = rig.send(b"cat")
    # when
    for consumer in consumers:
        consumer.tick()
    # then
    assert rig.label(message) == "cat"
    assert rig.result(message)["metrics"]["receive_count"] == 1
    assert worker.final_poll is FinalPoll.FOUND


def test_a_message_that_comes_while_many_consumers_drain_is_handed_back_once(rig: Rig) -> None:
    """Real threads: all consumers but the one that polls wait for their turn, and then receive no more."""
    # given
    consumers = consumers_of(rig, 5, wait_s=30.0)
    ticks = [threading.Thread(target=consumer.tick) for consumer in consumers]
    for tick in ticks:
        tick.start()
    # when
    Worker(consumers).drain()
    message = rig.send(b"cat")
    for tick in ticks:
        tick.join(20)
    # then: the message was handed back, whichever consumer received it
    (received,) = rig.queue.receive(count_max=10, wait_s=0)
    assert Message.from_bytes(received.body) == message
    assert received.receive_count <= 2


def test_the_work_done_tells_when_the_first_message_was_sent(rig: Rig) -> None:
    # given
    worker = rig.begun()
    assert worker.work.first_sent_at_s is None
    first = rig.send(b"cat")
    rig.clock.advance(3.0)
    # when
    worker.tick()
    rig.send(b"dog")
    worker.tick()
    # then
    assert worker.work.first_sent_at_s == first.created_at_s
    assert Worker([worker]).work.first_sent_at_s == first.created_at_s
