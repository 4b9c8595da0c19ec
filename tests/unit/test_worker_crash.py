"""A worker dies between any two of its effects: nothing is lost, and no outcome changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from beholder.job import Failure, Job, JobStatus, Message, new_job_id
from beholder.results.outcomes import failed_job
from beholder.store.keys import result_key
from helpers.rig import TIMEOUT_S, Death, FakeClassifier, Recorder, Rig

IMAGES = (b"cat", b"!", b"dog")
# receive, three gets, three puts, one reply, one ack
CALLS = 9
MOMENTS = [(number, after) for number in range(CALLS) for after in (False, True)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def dies(rig: Rig, number: int, *, after: bool) -> dict[str, bytes]:
    """Let a worker die at its `number`-th call; return the results that stood then."""
    worker = rig.begun()
    journal = b""

    def remember() -> None:
        nonlocal journal
        journal = rig.in_flight_path().read_bytes()

    rig.recorder.dies_at, rig.recorder.dies_after, rig.recorder.on_death = number, after, remember
    with pytest.raises(Death):
        worker.tick()
    rig.in_flight_path().write_bytes(journal)  # what the process did after its death did not happen
    rig.recorder = Recorder()
    return standing(rig)


def standing(rig: Rig) -> dict[str, bytes]:
    return {info.key: rig.results.get(info.key) for info in rig.results.list("results/")}


def settle(rig: Rig) -> None:
    """Let a successor, with a newer model, work until there is nothing left."""
    rig.classifiers["first@1"] = FakeClassifier("first", version="2")
    worker = rig.worker()
    for _ in range(5):
        worker.tick()
        rig.clock.advance(TIMEOUT_S + 1)


def statuses(rig: Rig, messages: list[Message]) -> list[str]:
    return [rig.result(message)["status"] for message in messages]


@pytest.mark.parametrize(("number", "after"), MOMENTS)
def test_a_successor_goes_on_and_what_was_stored_stands(rig: Rig, number: int, *, after: bool) -> None:
    # given
    messages = [rig.send(image) for image in IMAGES]
    before = dies(rig, number, after=after)
    # when
    settle(rig)
    # then
    assert statuses(rig, messages) == ["succeeded", "failed", "succeeded"]
    now = standing(rig)
    assert {key: now[key] for key in before} == before
    assert {job["id"] for job in rig.replied()} == {one.job_id for one in messages}
    assert rig.is_idle()
    assert rig.dead_letters.depth().backlog == 0


@pytest.mark.parametrize(("number", "after"), MOMENTS)
def test_a_lost_machine_costs_a_redelivery_and_no_outcome_changes(
    rig: Rig, number: int, *, after: bool
) -> None:
    # given: the journal is lost with the machine, and only the visibility timeout is left
    messages = [rig.send(image) for image in IMAGES]
    before = dies(rig, number, after=after)
    rig.in_flight_path().unlink()
    rig.clock.advance(TIMEOUT_S + 1)
    # when
    settle(rig)
    # then
    assert statuses(rig, messages) == ["succeeded", "failed", "succeeded"]
    now = standing(rig)
    assert {key: now[key] for key in before} == before
    assert rig.is_idle()


def test_a_reply_to_a_redelivery_repeats_the_outcome_that_stands(rig: Rig) -> None:
    # given: it died after the result and before the reply
    message = rig.send(b"cat")
    before = dies(rig, 2, after=True)
    rig.in_flight_path().unlink()
    rig.clock.advance(TIMEOUT_S + 1)
    # when
    settle(rig)
    # then: from the first attempt, though the second would have written another version
    assert rig.replied() == [rig.result(message)]
    assert rig.result(message)["model_version"] == "1"
    assert standing(rig) == before


NOT_DONE = Job(new_job_id(1.0), JobStatus.QUEUED, 1.0)
ANOTHERS = replace(NOT_DONE, status=JobStatus.SUCCEEDED)
TORN = [
    b"",
    b'{"status": "succ',
    bytes(100),
    b"[]",
    *(json.dumps(one.to_dict()).encode() for one in (NOT_DONE, ANOTHERS)),
]


@pytest.mark.parametrize("torn", TORN)
def test_an_outcome_that_a_power_cut_tore_is_written_again(rig: Rig, torn: bytes) -> None:
    message = rig.send(b"cat")
    rig.results.put(result_key(message.job_id), torn)
    settle(rig)
    assert rig.label(message) == "cat"
    assert rig.replied() == [rig.result(message)]


def test_an_outcome_is_never_written_twice(rig: Rig) -> None:
    message = rig.send(b"cat")
    failure = Failure(code="image_truncated", status=422, detail="cut off")
    earlier = failed_job(message, failure, rig.clock.now_s()).to_dict()
    rig.results.put(result_key(message.job_id), json.dumps(earlier).encode())
    settle(rig)
    assert rig.result(message) == earlier
    assert rig.is_idle()
