"""A worker that is paused makes one poll of its own, so that nothing from before the pause is overlooked."""

from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable
from beholder.worker.lanes import Lanes
from beholder.worker.leaving import LastPoll
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


def test_what_the_last_poll_brings_is_handed_back_at_once(rig: Rig) -> None:
    worker = rig.begun(last_poll_s=0.01)
    worker.pause()
    rig.send(b"cat")
    worker.tick()
    assert worker.last_poll is LastPoll.FOUND
    assert worker.is_paused_and_empty
    assert rig.queue.depth().backlog == 1


def test_in_service_again_it_works_and_the_next_pause_is_another(rig: Rig) -> None:
    # given
    worker = rig.begun(last_poll_s=0.01)
    worker.pause()
    message = rig.send(b"cat")
    worker.tick()
    # when
    worker.resume()
    worker.tick()
    # then
    assert rig.label(message) == "cat"
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


def test_lanes_have_seen_nothing_only_when_every_lane_has(rig: Rig) -> None:
    lanes = [rig.begun(f"worker-{number}", last_poll_s=0.01) for number in range(2)]
    worker = Lanes(lanes)
    worker.pause()
    lanes[0].tick()
    assert worker.last_poll is None
    lanes[1].tick()
    assert worker.last_poll is LastPoll.EMPTY
    # when: one finds a message
    worker.resume()
    worker.pause()
    lanes[0].tick()
    rig.send(b"cat")
    lanes[1].tick()
    assert worker.last_poll is LastPoll.FOUND


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
