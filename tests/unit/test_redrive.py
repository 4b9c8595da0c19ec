"""Redrive: dead letters go back to the workers, whatever happens on the way."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.redrive import Action, DeadLetter, Redrive, decide
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.errors import BackendDenied, BackendUnavailable, ConfigError
from beholder.job import Failure, Job, JobStatus, Message
from beholder.store.keys import (
    dead_letter_key,
    redrive_claim_key,
    result_key,
    text_key,
    unreadable_key,
)
from helpers.rig import Death, RecordedPort, Recorder, Rig

MINUTE_S = 61.0
EVENT = b'{"Records":[{"eventSource":"aws:s3","s3":{"object":{"key":"drop/cat.jpg"}}}]}'


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def redrive(rig: Rig) -> Redrive:
    return Redrive(
        RecordedPort(rig.queue, "queue", rig.recorder),
        RecordedPort(rig.results, "results", rig.recorder),
        rig.clock,
    )


def dead_letter_consumer(rig: Rig) -> DeadLetterConsumer:
    writer = DeadLetterWriter(rig.results, rig.replies.__getitem__, rig.clock, input_bucket="")
    return DeadLetterConsumer(rig.dead_letters, writer, wait_s=0.0)


def die(rig: Rig, message: Message) -> None:
    """Let a job that was sent end as a dead letter, and a minute pass."""
    for one in rig.queue.receive(count_max=10, wait_s=0):
        rig.queue.ack([one.receipt])
    rig.dead_letters.send([message.to_bytes()])
    dead_letter_consumer(rig).tick()
    rig.clock.advance(MINUTE_S)


def dead(rig: Rig, data: bytes = b"cat", **more: object) -> Message:
    message = rig.send(data, **more)
    die(rig, message)
    return message


def work(rig: Rig) -> None:
    """Let a worker do everything that is in the queue."""
    recorder, rig.recorder = rig.recorder, Recorder()
    worker = rig.worker("after")
    while not rig.is_idle():
        worker.tick()
    rig.recorder = recorder


def send_all(rig: Rig) -> list[Action]:
    redriving = redrive(rig)
    return [redriving.send_back(one).action for one in redriving.letters()]


def keys(rig: Rig, prefix: str) -> list[str]:
    return [info.key for info in rig.results.list(prefix)]


def ids(letters: Sequence[DeadLetter]) -> list[str]:
    return [one.id for one in letters]


# --- listing ------------------------------------------------------------------------------------------------


def test_no_letters_are_an_empty_list(rig: Rig) -> None:
    assert redrive(rig).letters() == []


def test_letters_are_listed_with_reason_and_file_the_newest_last(rig: Rig) -> None:
    # given: the younger job was given up first
    first, second = rig.send(b"cat"), rig.send(b"dog")
    die(rig, second)
    die(rig, first)
    # when
    letters = redrive(rig).letters()
    # then
    assert ids(letters) == [second.job_id, first.job_id]
    assert {(one.code, one.file_name, one.is_unreadable) for one in letters} == {
        ("job_abandoned", "a.jpg", False)
    }
    assert all("worker" in one.reason for one in letters)
    assert letters[1].at_s == rig.clock.now_s() - MINUTE_S


def test_what_a_letter_says_counts_more_than_what_is_guessed(rig: Rig) -> None:
    record = {
        "job_id": "j",
        "code": "some_code",
        "message": "{}",
        "at": 5,
        "reason": "why",
        "file_name": "x/b.png",
    }
    rig.results.put("dead/j.json", json.dumps(record).encode())
    (letter,) = redrive(rig).letters()
    assert (letter.id, letter.at_s, letter.code, letter.reason) == ("j", 5.0, "some_code", "why")
    assert letter.file_name == "b.png"


def test_a_time_may_be_a_text_and_a_file_name_a_key(rig: Rig) -> None:
    record = {"code": "c", "message": "{}", "at": "2001-09-09T01:46:40.000Z", "image_key": "drop/cat.jpg"}
    rig.results.put("dead/j.json", json.dumps(record).encode())
    (letter,) = redrive(rig).letters()
    assert (letter.at_s, letter.file_name) == (1_000_000_000.0, "cat.jpg")


def test_an_unreadable_body_is_listed_under_its_digest_with_its_reason(rig: Rig) -> None:
    rig.results.put(unreadable_key("ab" * 32), b"?")
    metadata = {"reason": "no JSON", "at": "2001-09-09T01:46:41.000+00:00"}
    rig.results.put(unreadable_key("cd" * 32), b"?", metadata=metadata)
    first, second = redrive(rig).letters()
    assert (first.id, first.code, first.is_unreadable) == ("ab" * 32, "message_invalid", True)
    assert (first.reason, first.at_s) == ("it could not be read", rig.clock.now_s())
    assert (second.id, second.reason, second.at_s) == ("cd" * 32, "no JSON", 1_000_000_001.0)


def test_a_letter_without_a_valid_time_has_that_of_its_object(rig: Rig) -> None:
    rig.results.put("dead/j.json", b'{"code":"c","message":"m","at":"never"}')
    (letter,) = redrive(rig).letters()
    assert letter.at_s == rig.clock.now_s()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}"])
def test_a_torn_letter_is_listed_and_left(rig: Rig, data: bytes) -> None:
    rig.results.put("dead/j.json", data)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    assert (letter.is_unreadable, letter.body) == (True, None)
    assert redriving.send_back(letter).action is Action.LEAVE
    assert keys(rig, "dead/") == ["dead/j.json"]


def test_a_letter_that_may_not_be_read_is_listed_and_left_and_holds_up_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, other = dead(rig), dead(rig)
    rig.clock.advance(61)
    get = rig.results.get

    def refusing(key: str) -> bytes:
        if key == dead_letter_key(refused.job_id):
            raise BackendDenied("s3 store", "get", "AccessDenied")
        return get(key)

    monkeypatch.setattr(rig.results, "get", refusing)
    redrive = Redrive(rig.queue, rig.results, rig.clock)
    letters = {letter.id: letter for letter in redrive.letters()}
    assert "AccessDenied" in letters[refused.job_id].reason
    decisions = {one: redrive.send_back(letter).action for one, letter in letters.items()}
    assert decisions == {refused.job_id: Action.LEAVE, other.job_id: Action.SEND}


def test_ids_that_name_no_letter_are_reported_all_at_once(rig: Rig) -> None:
    message = dead(rig)
    with pytest.raises(ConfigError) as caught:
        redrive(rig).find(["one", message.job_id, "../two"])
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["one", "../two"]


def test_letters_are_found_by_their_ids_each_once(rig: Rig) -> None:
    first, _, third = dead(rig), dead(rig), dead(rig)
    found = redrive(rig).find([third.job_id, first.job_id, third.job_id])
    assert ids(found) == [first.job_id, third.job_id]


# --- sending back -------------------------------------------------------------------------------------------


def test_a_letter_that_was_sent_back_ends_as_a_success_and_leaves_nothing(rig: Rig) -> None:
    # given
    message = dead(rig, deadline_s=rig.clock.now_s() + 10)
    rig.replied()
    # when
    assert send_all(rig) == [Action.SEND]
    # then: no client waits for it, and it does not expire
    (received,) = rig.queue.receive(count_max=10, wait_s=0)
    assert Message.from_bytes(received.body) == replace(message, reply_to=None, deadline_s=None)
    assert received.receive_count == 1
    rig.queue.nack([received.receipt])
    work(rig)
    assert rig.label(message) == "cat"
    assert rig.replied() == []
    assert keys(rig, "dead/") == []


def test_the_outcome_is_deleted_before_the_message_is_sent_and_the_letter_after(rig: Rig) -> None:
    dead(rig)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    rig.recorder.calls.clear()
    redriving.send_back(letter)
    changes = [call for call in rig.recorder.calls if call.split(".")[1] in ("put", "delete", "send")]
    assert changes == ["results.put", *["results.delete"] * 2, "queue.send", *["results.delete"] * 2]


def test_the_text_of_the_outcome_is_deleted_too(rig: Rig) -> None:
    message = dead(rig, wants_text=True)
    rig.results.put(text_key(message.job_id), b"owl")
    send_all(rig)
    assert keys(rig, "results/") == []
    work(rig)
    assert rig.results.get(text_key(message.job_id)) == b"cat"


def test_a_look_changes_nothing(rig: Rig) -> None:
    message = dead(rig)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    assert redriving.look(letter).action is Action.SEND
    assert keys(rig, "") == [dead_letter_key(message.job_id), result_key(message.job_id)]
    assert rig.is_idle()


def test_a_letter_whose_job_came_to_an_outcome_is_put_away_and_not_sent(rig: Rig) -> None:
    # given: the worker that stored the outcome died each time before the ack
    message = rig.send(b"cat")
    work(rig)
    stored = rig.result(message)
    die(rig, message)
    # when
    assert send_all(rig) == [Action.PUT_AWAY]
    # then
    assert rig.result(message) == stored
    assert rig.is_idle()
    assert keys(rig, "dead/") == []


def test_an_event_of_a_bucket_goes_back_as_it_is(rig: Rig) -> None:
    record = {"job_id": "j", "code": "job_abandoned", "message": EVENT.decode()}
    rig.results.put("dead/j.json", json.dumps(record).encode())
    assert send_all(rig) == [Action.SEND]
    assert [one.body for one in rig.queue.receive(count_max=10, wait_s=0)] == [EVENT]
    assert keys(rig, "dead/") == []


def test_an_unreadable_body_goes_back_as_it_is(rig: Rig) -> None:
    rig.results.put(unreadable_key("ab" * 32), b"\xff")
    redriving = redrive(rig)
    (letter,) = redriving.find(["ab" * 32])
    assert redriving.send_back(letter).action is Action.SEND
    assert [one.body for one in rig.queue.receive(count_max=10, wait_s=0)] == [b"\xff"]
    assert keys(rig, "dead/") == []


def test_a_torn_outcome_counts_as_none(rig: Rig) -> None:
    message = dead(rig)
    rig.results.put(result_key(message.job_id), b"")
    assert send_all(rig) == [Action.SEND]
    work(rig)
    assert rig.label(message) == "cat"


STANDING = Job("j", JobStatus.FAILED, 1.0, error=Failure("job_abandoned", 500, "why"))


@pytest.mark.parametrize(
    ("standing", "age_s", "action"),
    [
        (STANDING, 0.0, Action.SEND),
        (None, 59.0, Action.LEAVE),
        (None, 60.0, Action.SEND),
        (replace(STANDING, status=JobStatus.SUCCEEDED, error=None), 60.0, Action.PUT_AWAY),
        (replace(STANDING, error=Failure("image_truncated", 422, "why")), 60.0, Action.PUT_AWAY),
    ],
)
def test_the_decision_goes_by_the_outcome_that_stands(
    rig: Rig, standing: Job | None, age_s: float, action: Action
) -> None:
    dead(rig)
    (letter,) = redrive(rig).letters()
    decision = decide(letter, standing, letter.stored_at_s + age_s)
    assert (decision.action, bool(decision.reason)) == (action, True)


# --- deaths and failures ------------------------------------------------------------------------------------


def steps() -> range:
    """Return the number of each call to a port that sending one letter back takes."""
    rig = Rig(Path())
    dead(rig)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    rig.recorder.calls.clear()
    redriving.send_back(letter)
    return range(len(rig.recorder.calls))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", steps())
@pytest.mark.parametrize("has_worked", [False, True])
def test_a_death_at_any_step_is_made_good_by_the_next_redrive(
    rig: Rig, number: int, *, after: bool, has_worked: bool
) -> None:
    # given
    message = dead(rig)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    rig.recorder.calls.clear()
    rig.recorder.dies_at, rig.recorder.dies_after = number, after
    # when
    with pytest.raises(Death):
        redriving.send_back(letter)
    rig.recorder = Recorder()
    if has_worked:
        work(rig)
    # then: the job has an outcome, or is in the queue, or its letter stands
    assert keys(rig, "results/") or not rig.is_idle() or redrive(rig).letters()
    # when
    rig.clock.advance(MINUTE_S)
    send_all(rig)
    work(rig)
    # then
    assert rig.label(message) == "cat"
    assert redrive(rig).letters() == []


@pytest.mark.parametrize("call", ["results.put", "results.get", "results.delete", "queue.send"])
def test_a_backend_that_fails_costs_no_letter(rig: Rig, call: str) -> None:
    message = dead(rig)
    redriving = redrive(rig)
    (letter,) = redriving.letters()
    rig.recorder.failures[call] = BackendUnavailable("some backend", "send")
    with pytest.raises(BackendUnavailable):
        redriving.send_back(letter)
    rig.recorder.failures.clear()
    rig.clock.advance(MINUTE_S)
    assert send_all(rig) == [Action.SEND]
    work(rig)
    assert rig.label(message) == "cat"


# --- others at the same time --------------------------------------------------------------------------------


def test_a_letter_that_another_redrive_has_claimed_is_left(rig: Rig) -> None:
    message = dead(rig)
    rig.results.put(redrive_claim_key(message.job_id), b"{}")
    assert send_all(rig) == [Action.LEAVE]
    assert rig.is_idle()
    assert rig.result(message)["status"] == "failed"


def test_a_letter_that_another_redrive_sent_meanwhile_costs_no_outcome(rig: Rig) -> None:
    # given: both have read the letter
    message = dead(rig)
    slow = redrive(rig)
    (letter,) = slow.letters()
    assert send_all(rig) == [Action.SEND]
    work(rig)
    # when
    assert slow.send_back(letter).action is Action.PUT_AWAY
    # then
    assert rig.label(message) == "cat"
    assert rig.is_idle()
    assert keys(rig, "dead/") == []


def test_a_letter_that_another_redrive_sent_meanwhile_is_not_sent_twice(rig: Rig) -> None:
    # given: both have read the letter, and no worker has had the message of the first yet
    dead(rig)
    slow = redrive(rig)
    (letter,) = slow.letters()
    send_all(rig)
    # when
    assert slow.send_back(letter).action is Action.PUT_AWAY
    # then
    assert rig.queue.depth().backlog == 1


def test_a_letter_that_the_dead_letter_consumer_is_not_done_with_is_left(rig: Rig) -> None:
    message = dead(rig)
    rig.results.delete(result_key(message.job_id))
    rig.results.put(dead_letter_key(message.job_id), rig.results.get(dead_letter_key(message.job_id)))
    assert send_all(rig) == [Action.LEAVE]
    assert keys(rig, "dead/") == [dead_letter_key(message.job_id)]


def test_a_letter_that_the_dead_letter_consumer_wrote_again_meanwhile_stands(rig: Rig) -> None:
    # given: the dead-letter consumer is given the same message a second time while it is sent back
    message = dead(rig)

    class Consuming(Recorder):
        def around(self, name: str, call: Callable[[], Any]) -> Any:
            result = super().around(name, call)
            if name == "queue.send":
                rig.dead_letters.send([message.to_bytes()])
                rig.clock.advance(1)
                dead_letter_consumer(rig).tick()
            return result

    rig.recorder = Consuming()
    # when
    assert send_all(rig) == [Action.SEND]
    work(rig)
    # then: the dead-letter consumer's outcome came first, and the letter can be sent once more
    assert rig.result(message)["status"] == "failed"
    rig.recorder = Recorder()
    assert send_all(rig) == [Action.SEND]
    work(rig)
    assert rig.label(message) == "cat"
