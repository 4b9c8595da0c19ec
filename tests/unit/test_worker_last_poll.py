"""A worker that is paused makes one poll of its own, so that nothing from before the pause is overlooked."""

import threading
from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable
from beholder.job import Message
from beholder.worker.lanes import Lanes
from beholder.worker.leaving import LastPoll
from beholder.worker.worker import Polls, Worker
from helpers.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_it_is_empty_only_after_its_last_poll(rig: Rig) -> None:
    # given
    worker = rig.begun(last_poll_s=0.01)
    # when
    worker.pause()
    # then
    assert not worker.is_paused_and_empty
    assert worker.last_poll is None
    # when
    worker.tick()
    # then
    assert worker.is_paused_and_empty
    assert worker.last_poll is LastPoll.EMPTY
    # and: one poll is enough
    worker.tick()
    assert rig.journal.calls == ["queue.receive"]


def test_what_the_last_poll_brings_is_worked_on(rig: Rig) -> None:
    # given
    worker = rig.begun(last_poll_s=0.01)
    worker.pause()
    message = rig.send(b"cat")
    # when
    worker.tick()
    # then
    assert rig.label(message) == "cat"
    assert worker.last_poll is LastPoll.FOUND
    # and: in service again, the next pause is another
    worker.resume()
    worker.pause()
    assert worker.last_poll is None
    worker.tick()
    assert worker.last_poll is LastPoll.EMPTY


def test_a_poll_that_failed_is_made_again(rig: Rig) -> None:
    worker = rig.begun(last_poll_s=0.01)
    worker.pause()
    rig.journal.failures["queue.receive"] = BackendUnavailable("sqs queue", "receive")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    assert not worker.is_paused_and_empty
    rig.journal.failures.clear()
    worker.tick()
    assert worker.last_poll is LastPoll.EMPTY


def test_one_that_is_taken_away_polls_no_more(rig: Rig) -> None:
    worker = rig.begun(last_poll_s=0.01)
    worker.pause()
    worker.drain()
    worker.tick()
    assert worker.is_paused_and_empty
    assert rig.journal.calls == []


def lanes_of(rig: Rig, count: int, **more: float) -> list[Worker]:
    polls = Polls()
    return [rig.begun(f"worker-{number}", last_poll_s=0.01, polls=polls, **more) for number in range(count)]


def test_one_lane_polls_for_all(rig: Rig) -> None:
    lanes = lanes_of(rig, 3)
    worker = Lanes(lanes)
    worker.pause()
    for lane in lanes:
        lane.tick()
    assert rig.journal.calls == ["queue.receive"]
    assert worker.last_poll is LastPoll.EMPTY
    assert worker.is_paused_and_empty


def test_a_message_that_comes_while_many_lanes_leave_is_received_once(rig: Rig) -> None:
    # given: more lanes than receives are allowed, each about to poll
    lanes = lanes_of(rig, 5)
    worker = Lanes(lanes)
    worker.pause()
    message = rig.send(b"cat")
    # when
    for lane in lanes:
        lane.tick()
    # then
    assert rig.label(message) == "cat"
    assert rig.result(message)["metrics"]["receive_count"] == 1
    assert worker.last_poll is LastPoll.FOUND


def test_a_message_that_comes_while_many_lanes_drain_is_handed_back_once(rig: Rig) -> None:
    """Threads as they are: all lanes but the one that polls wait for their turn, and then receive no more."""
    # given
    lanes = lanes_of(rig, 5, wait_s=30.0)
    ticks = [threading.Thread(target=lane.tick) for lane in lanes]
    for tick in ticks:
        tick.start()
    # when
    Lanes(lanes).drain()
    message = rig.send(b"cat")
    for tick in ticks:
        tick.join(20)
    # then: what was received was handed back, whoever had it
    (received,) = rig.queue.receive(count_max=10, wait_s=0)
    assert Message.from_bytes(received.body) == message
    assert received.receive_count <= 2


def test_its_work_tells_when_its_first_message_was_sent(rig: Rig) -> None:
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
    assert Lanes([worker]).work.first_sent_at_s == first.created_at_s
