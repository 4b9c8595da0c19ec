"""The clerk: a message that nobody could finish still ends as an answered job."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import BackendUnavailable
from beholder.job import JobInput, Message, new_job_id
from beholder.store.keys import dead_letter_key, result_key, unreadable_key
from beholder.worker.dead_letters import DeadLetterClerk
from helpers.rig import Rig, Watched


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def clerk(rig: Rig) -> DeadLetterClerk:
    return DeadLetterClerk(
        Watched(rig.dead_letters, "dead_letters", rig.journal),
        Watched(rig.results, "results", rig.journal),
        lambda name: Watched(rig.replies[name], "replies", rig.journal),
        rig.clock,
        wait_s=0.0,
    )


def give_up(rig: Rig, message: Message) -> None:
    """Receive a message as often as it may be, so that the next receive moves it."""
    for _ in range(4):
        rig.queue.nack([one.receipt for one in rig.queue.receive(count_max=10, wait_s=0)])
    assert rig.is_idle()
    assert message


def kept(rig: Rig) -> list[str]:
    return [info.key for info in rig.results.list("dead/")]


def test_a_job_that_was_given_up_fails_and_its_waiter_hears_of_it(rig: Rig, clerk: DeadLetterClerk) -> None:
    # given
    message = rig.send(b"cat")
    give_up(rig, message)
    # when
    assert clerk.tick() == 0.0
    # then
    job = rig.result(message)
    assert (job["status"], job["error"]["code"], job["error"]["status"]) == ("failed", "job_abandoned", 500)
    assert job["input"]["image_key"] == message.input.image_key
    assert rig.replied() == [job]
    assert rig.images.get(message.input.image_key) == b"cat"
    assert rig.dead_letters.depth().in_flight == 0


def test_the_message_is_kept_so_that_it_can_be_sent_again(rig: Rig, clerk: DeadLetterClerk) -> None:
    message = rig.send(b"cat")
    give_up(rig, message)
    clerk.tick()
    record: dict[str, Any] = json.loads(rig.results.get(dead_letter_key(message.job_id)))
    assert (record["job_id"], record["code"]) == (message.job_id, "job_abandoned")
    assert Message.from_bytes(record["message"].encode()) == message


def test_the_record_stands_before_the_outcome_the_outcome_before_the_reply_and_the_ack_is_last(
    rig: Rig, clerk: DeadLetterClerk
) -> None:
    give_up(rig, rig.send(b"cat"))
    clerk.tick()
    assert rig.journal.calls == [
        "dead_letters.receive",
        "results.put",
        "results.put",
        "replies.send",
        "dead_letters.ack",
    ]


def test_an_earlier_outcome_stands_and_is_what_the_waiter_hears(rig: Rig, clerk: DeadLetterClerk) -> None:
    # given: a worker that stored its result and died each time before the ack
    message = rig.send(b"cat")
    rig.begun().tick()
    stored = rig.result(message)
    rig.replied()
    rig.dead_letters.send([message.to_bytes()])
    # when
    clerk.tick()
    # then
    assert rig.result(message) == stored
    assert stored["status"] == "succeeded"
    assert rig.replied() == [stored]


def test_the_same_letter_twice_is_one_outcome(rig: Rig, clerk: DeadLetterClerk) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    clerk.tick()
    first = rig.results.get(result_key(message.job_id))
    rig.clock.advance(60)
    rig.dead_letters.send([message.to_bytes()])
    clerk.tick()
    assert rig.results.get(result_key(message.job_id)) == first
    assert kept(rig) == [dead_letter_key(message.job_id)]


HOSTILE = {
    "empty": b"",
    "no JSON": b"\xff\xfe",
    "another version": b'{"v":99}',
    "too deep": b"[" * 100_000,
    "a job id that leads out of its folder": Message("../../x", 1.0, JobInput("k", "n", 1)).to_bytes(),
    "a time that is no date": Message(new_job_id(1.0), 1e300, JobInput("k", "n", 1)).to_bytes(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_body_that_cannot_be_read_is_kept_under_its_digest(
    rig: Rig, clerk: DeadLetterClerk, body: bytes
) -> None:
    # given: a good letter beside it
    rig.dead_letters.send([body])
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    # when
    clerk.tick()
    # then
    key = unreadable_key(hashlib.sha256(body).hexdigest())
    assert rig.results.get(key) == body
    assert set(kept(rig)) == {key, dead_letter_key(message.job_id)}
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


@pytest.mark.parametrize("call", ["results.put", "dead_letters.ack"])
def test_a_letter_is_settled_later_where_a_backend_fails(rig: Rig, clerk: DeadLetterClerk, call: str) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    rig.journal.failures[call] = BackendUnavailable("folder store", "put")
    with pytest.raises(BackendUnavailable):
        clerk.tick()
    rig.journal.failures.clear()
    rig.clock.advance(31)
    clerk.tick()
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


def test_a_reply_that_cannot_be_sent_costs_nothing_else(rig: Rig, clerk: DeadLetterClerk) -> None:
    message = rig.send(b"cat")
    rig.dead_letters.send([message.to_bytes()])
    rig.journal.failures["replies.send"] = BackendUnavailable("sqlite queue", "send")
    clerk.tick()
    assert rig.result(message)["status"] == "failed"
    assert rig.dead_letters.depth().in_flight == 0


def test_no_letters_are_no_effect(rig: Rig, clerk: DeadLetterClerk) -> None:
    assert clerk.tick() == 0.0
    assert rig.journal.calls == ["dead_letters.receive"]
