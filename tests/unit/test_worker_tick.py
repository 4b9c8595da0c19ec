"""One pass of a consumer: the order of its effects, and what each kind of failure leads to."""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable, ImageSizeUnsupported, ModelNotFound
from beholder.job import Message, Options
from beholder.model.port import Preprocessing
from beholder.store.keys import dead_letter_key, text_key
from beholder.store.memory import MemoryStore
from beholder.worker.journal import InFlightJournal
from helpers.rig import TIMEOUT_S, Rig, prepare, take_all


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_result_is_stored_before_the_reply_and_the_reply_sent_before_the_ack(rig: Rig) -> None:
    # given
    worker = rig.begun()
    message = rig.send(b"cat")
    # when
    assert worker.tick() == 0.0
    # then
    assert rig.recorder.calls == ["queue.receive", "images.get", "results.put", "replies.send", "queue.ack"]
    assert rig.is_idle()
    job = rig.result(message)
    assert job["status"] == "succeeded"
    assert rig.label(message) == "cat"
    assert rig.replied() == [job]


def test_every_result_of_a_batch_is_stored_before_any_reply(rig: Rig) -> None:
    worker = rig.begun()
    messages = [
        rig.send(image, reply_to=f"web-{number % 2}") for number, image in enumerate((b"c", b"d", b"h"))
    ]
    worker.tick()
    effects = [one for one in rig.recorder.calls if not one.startswith("images")]
    assert effects == ["queue.receive", *["results.put"] * 3, *["replies.send"] * 2, "queue.ack"]
    assert [rig.label(message) for message in messages] == ["cat", "dog", "hen"]
    assert rig.classifiers["first@1"].batches == [3]
    assert [job["id"] for job in rig.replied("web-0")] == [messages[0].job_id, messages[2].job_id]
    assert [job["id"] for job in rig.replied("web-1")] == [messages[1].job_id]


def test_a_job_says_where_its_time_went(rig: Rig) -> None:
    worker = rig.begun()
    message = rig.send(b"owl")
    rig.clock.advance(2.5)
    worker.tick()
    job = rig.result(message)
    assert job["metrics"] == {
        "queue_ms": 2500.0,
        "decode_ms": 0.0,
        "infer_ms": 0.0,
        "service_ms": 0.0,
        "batch_size": 1,
        "receive_count": 1,
        "starting_ms": 0.0,
        "fetch_ms": 0.0,
        "batch_ms": 0.0,
    }
    assert (job["model"], job["model_version"]) == ("first", "1")


class SlowStore(MemoryStore):
    """Takes a second for each read."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.slow_by = clock

    def get(self, key: str) -> bytes:
        self.slow_by.advance(1.0)
        return super().get(key)


def test_waits_are_told_by_their_cause(rig: Rig) -> None:
    """Of two images in a batch, the one read first waits for the other to be read, and for its decoding."""
    rig.images = SlowStore(rig.clock)
    messages = [rig.send(image) for image in (b"cat", b"dog")]
    rig.clock.advance(30.0)

    def slow(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        rig.clock.advance(0.25)
        return prepare(data, preprocessing)

    # The worker was ready 20 s after the first image came, and took it 10 s later.
    rig.begun(ready_at_s=rig.clock.now_s() - 10.0, prepare=slow).tick()
    times = [rig.result(message)["metrics"] for message in messages]
    for one in times:
        assert (one["queue_ms"], one["starting_ms"]) == (30_000.0, 20_000.0)
        assert (one["fetch_ms"], one["decode_ms"], one["infer_ms"], one["batch_ms"]) == (
            1e3,
            250.0,
            0.0,
            1250.0,
        )
        parts = one["fetch_ms"] + one["batch_ms"] + one["decode_ms"] + one["infer_ms"]
        assert parts == one["service_ms"] == 2500.0


def test_an_image_may_ride_inside_its_message(rig: Rig) -> None:
    worker = rig.begun()
    message = rig.send(b"cat", image=b"dog")
    worker.tick()
    assert rig.label(message) == "dog"
    assert "images.get" not in rig.recorder.calls


def test_the_caller_s_options_bound_the_labels(rig: Rig) -> None:
    worker = rig.begun()
    few = rig.send(b"cat", options=Options(top_k=2))
    sure = rig.send(b"dog", options=Options(min_confidence=0.5))
    worker.tick()
    assert len(rig.result(few)["result"]["labels"]) == 2
    assert [label["name"] for label in rig.result(sure)["result"]["labels"]] == ["dog"]


def test_a_batch_of_two_models_runs_each_once(rig: Rig) -> None:
    worker = rig.begun()
    messages = [rig.send(b"cat", options=Options(model=name)) for name in ("first", "second", "first", None)]
    worker.tick()
    assert (rig.classifiers["first@1"].batches, rig.classifiers["second@1"].batches) == ([3], [1])
    assert [rig.result(one)["model"] for one in messages] == ["first", "second", "first", "first"]
    assert {job["id"] for job in rig.replied()} == {one.job_id for one in messages}


def test_a_classic_client_s_label_is_stored_as_text_too(rig: Rig) -> None:
    worker = rig.begun()
    wanted, plain = rig.send(b"hen", wants_text=True), rig.send(b"owl")
    worker.tick()
    assert rig.results.get(text_key(wanted.job_id)) == b"hen"
    assert text_key(plain.job_id) not in {info.key for info in rig.results.list("results/")}


def test_an_image_that_cannot_be_decoded_harms_no_other_of_its_batch(rig: Rig) -> None:
    worker = rig.begun()
    good, bad, other = rig.send(b"cat"), rig.send(b"!"), rig.send(b"dog")
    worker.tick()
    assert [rig.label(good), rig.label(other)] == ["cat", "dog"]
    failed = rig.result(bad)
    assert (failed["status"], failed["error"]["code"], failed["error"]["status"]) == (
        "failed",
        "image_truncated",
        422,
    )
    # and each job has its own outcome in the reply
    assert {job["id"]: job["status"] for job in rig.replied()} == {
        good.job_id: "succeeded",
        other.job_id: "succeeded",
        bad.job_id: "failed",
    }
    assert rig.is_idle()


def test_an_image_that_the_model_cannot_run_fails_at_its_first_receive_and_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rig.classifiers["first@1"].classify

    def refusing(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if any(image[0, 0, 0] == 3 for image in images):
            raise ImageSizeUnsupported
        return run(images)

    monkeypatch.setattr(rig.classifiers["first@1"], "classify", refusing)
    worker = rig.begun()
    good, bad, other = rig.send(b"cat"), rig.send(b"owl"), rig.send(b"dog")
    worker.tick()
    assert [rig.label(good), rig.label(other)] == ["cat", "dog"]
    failed = rig.result(bad)["error"]
    assert (failed["code"], failed["status"]) == ("image_size_unsupported", 422)
    assert rig.is_idle()


def test_an_image_that_is_gone_is_a_failed_job(rig: Rig) -> None:
    worker = rig.begun()
    message = rig.send(b"cat")
    rig.images.delete(message.input.image_key)
    worker.tick()
    assert rig.result(message)["error"]["code"] == "image_gone"
    assert rig.is_idle()


def test_a_job_past_its_deadline_is_not_worked_on(rig: Rig) -> None:
    worker = rig.begun()
    late = rig.send(b"cat", deadline_s=rig.clock.now_s() + 5)
    rig.clock.advance(5)
    in_time = rig.send(b"dog", deadline_s=rig.clock.now_s())
    worker.tick()
    assert rig.result(in_time)["status"] == "succeeded"
    assert rig.result(late)["status"] == "succeeded"
    # one second more is too late
    later = rig.send(b"owl", deadline_s=rig.clock.now_s() - 1)
    worker.tick()
    job = rig.result(later)
    assert (job["status"], job["error"]["code"]) == ("expired", "job_expired")
    assert rig.classifiers["first@1"].batches == [2]


def test_a_model_that_is_no_longer_served_fails_its_job_alone(rig: Rig) -> None:
    worker = rig.begun()
    unknown, known = rig.send(b"cat", options=Options(model="third")), rig.send(b"dog")
    worker.tick()
    assert rig.result(unknown)["error"]["code"] == ModelNotFound.code
    assert rig.label(known) == "dog"


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"v":2}'])
def test_a_message_that_cannot_be_read_goes_to_the_dead_letters(rig: Rig, body: bytes) -> None:
    # given
    worker = rig.begun()
    rig.queue.send([body])
    message = rig.send(b"cat")
    # when
    worker.tick()
    # then
    assert [one.body for one in take_all(rig.dead_letters)] == [body]
    assert rig.label(message) == "cat"
    assert rig.is_idle()


def test_a_batch_of_nothing_readable_runs_nothing(rig: Rig) -> None:
    worker = rig.begun()
    rig.queue.send([b"x", b"y"])
    worker.tick()
    assert rig.recorder.calls == ["queue.receive", "dead_letters.send", "queue.ack"]


def test_a_message_received_before_is_worked_on_alone(rig: Rig) -> None:
    # given: two that were received before, and two that were not
    worker = rig.begun()
    known = [rig.send(b"cat"), rig.send(b"dog")]
    rig.queue.nack([one.receipt for one in rig.queue.receive(count_max=2, wait_s=0)])
    fresh = [rig.send(b"hen"), rig.send(b"owl")]
    # when
    worker.tick()
    # then
    assert sorted(rig.classifiers["first@1"].batches) == [1, 1, 2]
    assert [rig.result(one)["metrics"]["batch_size"] for one in (*known, *fresh)] == [1, 1, 2, 2]
    assert [rig.result(one)["metrics"]["receive_count"] for one in (*known, *fresh)] == [2, 2, 1, 1]


OUTAGE_PASSES = 50


@pytest.mark.parametrize("call", ["results.put", "images.get", "queue.ack"])
def test_a_backend_that_is_away_for_long_costs_no_receive_and_no_job(rig: Rig, call: str) -> None:
    # given
    worker = rig.begun()
    messages = [rig.send(b"cat"), rig.send(b"!")]
    rig.recorder.failures[call] = BackendUnavailable("store", call)
    # when: an outage of many visibility timeouts
    for _ in range(OUTAGE_PASSES):
        with pytest.raises(BackendUnavailable):
            worker.tick()
        rig.clock.advance(rig.extender.tick())
        assert rig.queue.depth().in_flight == 2
    rig.recorder.failures.clear()
    worker.tick()
    # then
    assert rig.recorder.calls.count("queue.receive") == 1
    assert [rig.result(one)["status"] for one in messages] == ["succeeded", "failed"]
    assert rig.result(messages[0])["metrics"]["receive_count"] == 1
    assert rig.is_idle()
    assert rig.extender._held == {}
    assert rig.in_flight_path().read_bytes() == b""


def test_while_a_backend_is_away_the_journal_has_what_is_held(rig: Rig) -> None:
    worker = rig.begun()
    message = rig.send(b"cat")
    rig.recorder.failures["results.put"] = BackendUnavailable("folder store", "put")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    journal = InFlightJournal(rig.in_flight_path())
    left = journal.left_behind()
    journal.close()
    assert [one.body for one in left.held] == [message.to_bytes()]
    assert left.current is None  # it was not the image's fault


def test_what_was_done_before_a_backend_failed_is_not_done_again(rig: Rig) -> None:
    # given: a fresh message, and one received before, which makes a batch of its own
    worker = rig.begun()
    rig.send(b"cat")
    rig.queue.nack([one.receipt for one in rig.queue.receive(count_max=1, wait_s=0)])
    rig.send(b"dog")
    rig.recorder.failures["queue.ack"] = BackendUnavailable("sqlite queue", "ack")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    del rig.recorder.failures["queue.ack"]
    # when
    worker.tick()
    # then: the first batch twice, since its ack failed; the other once
    assert rig.classifiers["first@1"].batches == [1, 1, 1]
    assert rig.is_idle()


def test_what_another_worker_has_received_meanwhile_is_left_to_it(rig: Rig) -> None:
    # given: an outage in which the extender could not extend, until another worker took the message
    worker = rig.begun()
    rig.send(b"cat")
    rig.recorder.failures["results.put"] = BackendUnavailable("folder store", "put")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    rig.clock.advance(TIMEOUT_S + 1)
    (theirs,) = rig.queue.receive(count_max=1, wait_s=0)
    rig.extender.tick()
    rig.recorder.failures.clear()
    # when
    worker.tick()
    # then
    assert list(rig.results.list("results/")) == []
    assert rig.queue.extend([theirs.receipt], timeout_s=1) == []
    # and the worker goes on with the next
    message = rig.send(b"dog")
    worker.tick()
    assert rig.label(message) == "dog"


def test_work_that_hangs_beyond_hold_max_s_is_let_go(rig: Rig) -> None:
    worker = rig.begun()
    rig.send(b"cat")
    rig.recorder.failures["results.put"] = BackendUnavailable("folder store", "put")
    for _ in range(100):  # of ten seconds each; the cap is ten minutes
        with suppress(BackendUnavailable):
            worker.tick()
        if rig.recorder.calls.count("queue.receive") > 1:
            break
        rig.clock.advance(rig.extender.tick())
    else:
        pytest.fail("held for ever")


def test_a_stop_hands_back_what_a_failing_backend_left_held(rig: Rig) -> None:
    worker = rig.begun()
    rig.send(b"cat")
    rig.recorder.failures["results.put"] = BackendUnavailable("folder store", "put")
    with pytest.raises(BackendUnavailable):
        worker.tick()
    worker.drain()
    worker.hand_back()
    assert rig.queue.depth().backlog == 1
    assert rig.in_flight_path().read_bytes() == b""
    # and while it holds nothing it does nothing
    rig.recorder.calls.clear()
    worker.hand_back()
    assert rig.recorder.calls == []


def test_a_reply_that_cannot_be_sent_costs_nothing_else(rig: Rig) -> None:
    worker = rig.begun()
    lost, heard = rig.send(b"cat", reply_to="web-0"), rig.send(b"dog", reply_to="web-1")
    rig.replies["web-0"].send = unreachable  # type: ignore[method-assign]
    worker.tick()
    assert [rig.label(lost), rig.label(heard)] == ["cat", "dog"]
    assert [job["id"] for job in rig.replied("web-1")] == [heard.job_id]
    assert rig.is_idle()


def unreachable(*_: object, **__: object) -> None:
    raise BackendUnavailable("sqlite queue", "send")


def test_a_job_without_a_reply_queue_gets_no_reply(rig: Rig) -> None:
    worker = rig.begun()
    rig.send(b"cat", reply_to=None)
    worker.tick()
    assert "replies.send" not in rig.recorder.calls
    assert rig.is_idle()


def test_a_model_that_is_broken_hands_the_messages_back_and_gives_the_jobs_up_in_the_end(rig: Rig) -> None:
    worker = rig.begun()
    messages = [rig.send(b"cat"), rig.send(b"dog")]
    rig.classifiers["first@1"].failure = RuntimeError("the model broke")
    with pytest.raises(RuntimeError, match="broke"):
        worker.tick()
    assert rig.extender._held == {}
    assert rig.in_flight_path().read_bytes() == b""
    # and after as many attempts as there may be the jobs are given up, not tried for ever
    for _ in range(6):
        rig.clock.advance(20)
        with suppress(RuntimeError):
            worker.tick()
    for message in messages:
        assert rig.result(message)["error"]["code"] == "job_abandoned"
        letter = json.loads(rig.results.get(dead_letter_key(message.job_id)))
        assert letter["reason"] == "classify failed: RuntimeError: the model broke"
    assert {job["id"] for job in rig.replied()} == {one.job_id for one in messages}
    assert rig.is_idle()


def test_two_messages_of_one_job_get_the_same_outcome(rig: Rig) -> None:
    worker = rig.begun()
    message = rig.send(b"cat")
    rig.queue.send([message.to_bytes()])
    worker.tick()
    first, second = rig.replied()
    assert first == second == rig.result(message)
    assert rig.is_idle()


def test_a_draining_worker_hands_back_what_it_has_not_begun(rig: Rig) -> None:
    # given: a stop that comes while the worker waits for messages
    worker = rig.begun()
    rig.send(b"cat")
    rig.send(b"dog")
    receive = rig.queue.receive

    def drained_meanwhile(**asked: object) -> object:
        worker.drain()
        return receive(**asked)  # type: ignore[arg-type]

    rig.queue.receive = drained_meanwhile  # type: ignore[assignment, method-assign]
    # when
    worker.tick()
    # then
    assert rig.recorder.calls == ["queue.receive", "queue.nack"]
    assert rig.queue.depth().backlog == 2
    assert rig.in_flight_path().read_bytes() == b""
    # and: it receives no more
    worker.tick()
    assert rig.recorder.calls == ["queue.receive", "queue.nack"]


def test_a_drain_finishes_the_batch_that_is_begun_and_no_other(rig: Rig) -> None:
    # given: a fresh message, and one received before, which makes a batch of its own
    worker = rig.begun()
    known = rig.send(b"cat")
    rig.queue.nack([one.receipt for one in rig.queue.receive(count_max=1, wait_s=0)])
    fresh = rig.send(b"dog")
    classify = rig.classifiers["first@1"].classify

    def stopped_meanwhile(images: object) -> object:
        worker.drain()
        return classify(images)  # type: ignore[arg-type]

    rig.classifiers["first@1"].classify = stopped_meanwhile  # type: ignore[assignment, method-assign]
    # when
    worker.tick()
    # then
    assert rig.label(fresh) == "dog"
    assert rig.queue.depth().backlog == 1
    rig.clock.advance(1)
    (back,) = take_all(rig.queue)
    assert Message.from_bytes(back.body).job_id == known.job_id


def test_a_message_is_kept_hidden_while_it_is_processed_and_released_at_the_end(rig: Rig) -> None:
    worker = rig.begun()
    rig.send(b"cat")
    held: list[dict[str, float]] = []
    classify = rig.classifiers["first@1"].classify

    def watching(images: object) -> object:
        held.append(dict(rig.extender._held))
        return classify(images)  # type: ignore[arg-type]

    rig.classifiers["first@1"].classify = watching  # type: ignore[assignment, method-assign]
    worker.tick()
    assert [len(one) for one in held] == [1]
    assert rig.extender._held == {}


def test_an_empty_queue_causes_no_effect(rig: Rig) -> None:
    worker = rig.begun()
    assert worker.tick() == 0.0
    assert rig.recorder.calls == ["queue.receive"]


def test_a_full_disk_costs_the_journal_and_no_receive(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = rig.begun()
    message = rig.send(b"cat")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        worker.tick()
    assert rig.label(message) == "cat"
    assert rig.is_idle()
