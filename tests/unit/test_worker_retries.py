"""What becomes of a message for which a step failed: retried, handed back, or given up."""

import json
import os
import socket
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import pytest

from beholder.config import make_settings
from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.errors import BackendDenied, BackendUnavailable, ModelInvalid, ObjectNotFound
from beholder.job import Options
from beholder.model.unloaded import UnloadedClassifier
from beholder.queue.port import Received
from beholder.store import FolderStore
from beholder.store.keys import PROBE_KEY, dead_letter_key, result_key
from beholder.wiring.classifiers import warm_classifiers
from beholder.worker.journal import InFlightJournal
from helpers.rig import BUCKET, Rig, take_all
from tiny_models import write_folder


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def fail(store: Any, method: str, keys: set[str], error: Exception) -> None:
    """Let a store fail for these keys."""
    call = getattr(store, method)

    def failing(key: str, *args: Any, **more: Any) -> Any:
        if key in keys:
            raise error
        return call(key, *args, **more)

    setattr(store, method, failing)


def unavailable() -> BackendUnavailable:
    return BackendUnavailable("a store", "call", "for this one")


def denied() -> BackendDenied:
    return BackendDenied("a store", "call", "AccessDenied")


def held(rig: Rig) -> tuple[Received, ...]:
    journal = InFlightJournal(rig.in_flight_path())
    left = journal.left_behind()
    journal.close()
    return left.held


def consumer_of(rig: Rig) -> DeadLetterConsumer:
    writer = DeadLetterWriter(rig.results, rig.replies.__getitem__, rig.clock, input_bucket=BUCKET)
    return DeadLetterConsumer(rig.dead_letters, writer, wait_s=0)


def test_what_may_succeed_later_stays_held_while_others_are_received(rig: Rig) -> None:
    # given: one of a batch that the store does not give for now
    worker = rig.begun()
    poison, neighbour = rig.send(b"cat"), rig.send(b"dog")
    fail(rig.images, "get", {poison.input.image_key}, unavailable())
    # when
    worker.tick()
    later = rig.send(b"hen")
    worker.tick()
    # then
    assert (rig.label(neighbour), rig.label(later)) == ("dog", "hen")
    assert [one.body for one in held(rig)] == [poison.to_bytes()]
    assert rig.queue.depth().in_flight == 1
    # when: it succeeds after a while
    del rig.images.get  # type: ignore[misc]
    rig.clock.advance(rig.extender.tick())
    worker.tick()
    # then
    assert rig.result(poison)["metrics"]["receive_count"] == 1
    assert rig.is_idle()
    assert rig.in_flight_path().read_bytes() == b""


def test_a_held_message_is_tried_again_after_growing_pauses(rig: Rig) -> None:
    worker = rig.begun()
    poison = rig.send(b"cat")
    fail(rig.images, "get", {poison.input.image_key}, unavailable())
    rig.recorder.calls.clear()
    for _ in range(60):  # seconds
        worker.tick()
        rig.extender.tick()
        rig.clock.advance(1)
    # at 0, 1, 3, 7, 15, 31 s, each with the question whether the store answers
    assert rig.recorder.calls.count("images.get") == 2 * 6
    assert rig.queue.depth().in_flight == 1


def test_with_ten_held_messages_that_keep_failing_nothing_more_is_received(rig: Rig) -> None:
    # given: a store that answers for no image, though it answers
    worker = rig.begun()
    messages = [rig.send(b"cat") for _ in range(20)]
    fail(rig.images, "get", {one.input.image_key for one in messages}, unavailable())
    # when
    delays = [worker.tick() for _ in range(8)]
    # then: the rest of the backlog keeps its receives
    assert rig.queue.depth().backlog == 20 - 12
    assert delays[-1] > 0
    del rig.images.get  # type: ignore[misc]
    for _ in range(8):
        rig.clock.advance(2)
        worker.tick()
    assert {rig.result(one)["metrics"]["receive_count"] for one in messages} == {1}


def test_a_drain_hands_back_what_is_being_retried(rig: Rig) -> None:
    worker = rig.begun()
    poison = rig.send(b"cat")
    fail(rig.images, "get", {poison.input.image_key}, unavailable())
    worker.tick()
    worker.drain()
    worker.tick()
    assert rig.queue.depth().backlog == 1
    assert rig.in_flight_path().read_bytes() == b""
    assert worker.idle_since_s is not None


def test_a_refused_message_is_hidden_for_longer_each_time_and_given_up_with_its_reason(rig: Rig) -> None:
    # given
    worker = rig.begun()
    poison, neighbour = rig.send(b"cat"), rig.send(b"dog")
    fail(rig.images, "get", {poison.input.image_key}, denied())
    # when
    worker.tick()
    # then
    assert rig.label(neighbour) == "dog"
    assert rig.replied() == [rig.result(neighbour)]
    assert held(rig) == ()
    assert rig.queue.depth().in_flight == 1
    for hidden_s in (4.0, 20.0):
        rig.clock.advance(hidden_s - 0.1)
        worker.tick()
        assert rig.queue.depth().in_flight == 1
        rig.clock.advance(0.2)
        worker.tick()
    # then: a failed job without the vendor's text, and a letter that has it for the operator
    job = rig.result(poison)
    assert (job["status"], job["error"]["code"]) == ("failed", "job_abandoned")
    assert "AccessDenied" not in json.dumps(job)
    letter = json.loads(rig.results.get(dead_letter_key(poison.job_id)))
    assert letter["reason"] == "get failed: a store: call: AccessDenied"
    assert rig.replied() == [job]
    assert rig.is_idle()
    assert rig.dead_letters.depth().backlog == 0


def test_an_input_bucket_that_is_away_does_not_delay_an_image_inside_its_message(rig: Rig) -> None:
    worker = rig.begun()
    fetched, inline = rig.send(b"cat"), rig.send(b"dog", image=b"dog")
    rig.recorder.failures["images.get"] = denied()
    with pytest.raises(BackendDenied):
        worker.tick()
    assert rig.label(inline) == "dog"
    assert [one.body for one in held(rig)] == [fetched.to_bytes()]
    # and while it is away nothing more is received
    later = rig.send(b"hen")
    with pytest.raises(BackendDenied):
        worker.tick()
    assert rig.queue.depth().backlog == 1
    rig.recorder.failures.clear()
    worker.tick()
    worker.tick()
    assert (rig.label(fetched), rig.label(later)) == ("cat", "hen")
    assert rig.result(fetched)["metrics"]["receive_count"] == 1


def test_an_outcome_that_cannot_be_written_keeps_its_reason_until_it_can(rig: Rig) -> None:
    # given
    worker = rig.begun()
    poison, neighbour = rig.send(b"cat"), rig.send(b"dog")
    fail(rig.results, "put", {result_key(poison.job_id)}, denied())
    dead_letter_consumer = consumer_of(rig)
    # when
    for _ in range(6):
        worker.tick()
        with suppress(BackendDenied):
            dead_letter_consumer.tick()
        rig.clock.advance(150)
    # then
    assert rig.label(neighbour) == "dog"
    letter = json.loads(rig.results.get(dead_letter_key(poison.job_id)))
    assert letter["reason"] == "put failed: a store: call: AccessDenied"
    # and once it can, the dead-letter consumer writes it
    del rig.results.put  # type: ignore[misc]
    rig.clock.advance(60)
    dead_letter_consumer.tick()
    assert rig.result(poison)["error"]["code"] == "job_abandoned"
    assert json.loads(rig.results.get(dead_letter_key(poison.job_id)))["reason"] == letter["reason"]
    assert rig.dead_letters.depth().in_flight == 0


def test_a_message_that_cannot_be_given_up_does_not_hold_up_the_others(rig: Rig) -> None:
    poison, other = rig.send(b"cat"), rig.send(b"dog")
    dead_letter_consumer = consumer_of(rig)
    fail(rig.results, "put", {result_key(poison.job_id)}, denied())
    rig.dead_letters.send([poison.to_bytes(), other.to_bytes()])
    with pytest.raises(BackendDenied):
        dead_letter_consumer.tick()
    assert rig.result(other)["error"]["code"] == "job_abandoned"


def test_a_dead_letter_queue_that_refuses_a_body_delays_no_outcome(rig: Rig) -> None:
    worker = rig.begun()
    rig.queue.send([b"no message"])
    good = rig.send(b"cat")
    rig.recorder.failures["dead_letters.send"] = denied()
    worker.tick()
    assert rig.label(good) == "cat"
    # and the body ends under its digest all the same
    for _ in range(2):
        rig.clock.advance(20)
        worker.tick()
    assert [info.key.startswith("dead/unreadable/") for info in rig.results.list("dead/")] == [True]
    assert rig.is_idle()


KINDS = (
    "a link to itself",
    "a link to nothing",
    "a folder",
    "a file in its way",
    "a FIFO",
    "a socket",
    "a device",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_folder_holds_in_place_of_an_image_costs_only_that_image(rig: Rig, kind: str) -> None:
    # given
    rig.images = FolderStore(rig.folder / "in")  # type: ignore[assignment]
    worker = rig.begun(batch_max=1)
    poison = rig.send(b"cat")
    path = rig.folder / "in" / poison.input.image_key
    path.unlink()
    if kind == "a link to itself":
        path.symlink_to(path.name)
    elif kind == "a link to nothing":
        path.symlink_to("nothing")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one, chdir(path.parent):
            one.bind(path.name)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.parent.rmdir()
        path.parent.touch()
    good = [rig.send(b"dog") for _ in range(6)]
    # when
    for _ in range(8):
        worker.tick()
    # then
    assert [rig.label(one) for one in good] == ["dog"] * 6
    assert {rig.result(one)["metrics"]["receive_count"] for one in good} == {1}
    for _ in range(2):
        rig.clock.advance(20)
        worker.tick()
    code = "job_abandoned" if kind == "a link to itself" else "image_gone"
    assert rig.result(poison)["error"]["code"] == code
    assert rig.is_idle()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_costs_only_that_image(rig: Rig) -> None:
    rig.images = FolderStore(rig.folder / "in")  # type: ignore[assignment]
    worker = rig.begun()
    poison, good = rig.send(b"cat"), rig.send(b"dog")
    (rig.folder / "in" / poison.input.image_key).chmod(0)
    worker.tick()
    assert rig.label(good) == "dog"


def test_a_label_that_the_model_lacks_costs_no_other_image(rig: Rig) -> None:
    worker = rig.begun()
    bad, good = (rig.send(one, options=Options(top_k=1)) for one in (b"owl", b"cat"))
    spec = rig.classifiers["first@1"].spec
    object.__setattr__(spec, "labels", spec.labels[:3])  # the graph has one class more
    worker.tick()
    assert rig.label(good) == "cat"
    for _ in range(2):
        rig.clock.advance(20)
        with suppress(Exception):
            worker.tick()
    letter = json.loads(rig.results.get(dead_letter_key(bad.job_id)))
    assert letter["reason"].startswith("classify failed: ")


def test_a_store_that_does_not_answer_for_another_key_either_is_away(rig: Rig) -> None:
    worker = rig.begun()
    poison = rig.send(b"cat")
    fail(rig.images, "get", {poison.input.image_key, PROBE_KEY}, denied())
    with pytest.raises(BackendDenied):
        worker.tick()
    assert rig.queue.depth().in_flight == 1
    assert len(held(rig)) == 1
    assert take_all(rig.queue) == []


@pytest.mark.parametrize("kind", ["a link to nothing", "a pipe", "deleted between"])
def test_what_is_unreadable_in_place_of_an_outcome_is_replaced(rig: Rig, kind: str) -> None:
    # given
    rig.results = FolderStore(rig.folder / "out")  # type: ignore[assignment]
    worker = rig.begun()
    message, good = rig.send(b"cat"), rig.send(b"dog")
    path = rig.folder / "out" / result_key(message.job_id)
    path.parent.mkdir()
    if kind == "a link to nothing":
        path.symlink_to("nothing")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"{}")
        fail(rig.results, "get", {result_key(message.job_id)}, ObjectNotFound("folder store", "get", "gone"))
    # when
    worker.tick()
    # then
    assert json.loads(path.read_bytes())["status"] == "succeeded"
    assert rig.label(good) == "dog"
    assert rig.is_idle()


def test_a_model_that_cannot_be_loaded_costs_the_jobs_of_others_nothing(rig: Rig) -> None:
    # given
    rig.classifiers["second@1"] = UnloadedClassifier(ModelInvalid(["second: damaged"]))  # type: ignore[assignment]
    worker = rig.begun()
    bad = rig.send(b"owl", options=Options(model="second"))
    good = [rig.send(b"cat") for _ in range(3)]
    # when
    worker.tick()
    # then
    assert [rig.label(one) for one in good] == ["cat"] * 3
    assert {rig.result(one)["metrics"]["receive_count"] for one in good} == {1}
    for _ in range(2):
        rig.clock.advance(20)
        worker.tick()  # alone in its batch, and no pause for it
    letter = json.loads(rig.results.get(dead_letter_key(bad.job_id)))
    assert letter["reason"] == "decode failed: second: damaged"
    assert rig.is_idle()


def test_a_worker_loads_the_other_models_where_one_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("sound", "torn"):
        write_folder(tmp_path / "models" / name, name=name)
    (tmp_path / "models" / "torn" / "model.onnx").write_bytes(b"rubbish")
    found = warm_classifiers(make_settings(data_dir=tmp_path, model=("sound", "torn")))
    assert found["sound@1"].spec.name == "sound"
    with pytest.raises(ModelInvalid, match="damaged"):
        found["torn"].classify([])
    assert [one.action for one in caplog.records if hasattr(one, "action")] == ["worker.model_unloaded"]
    with pytest.raises(ModelInvalid):  # the default model must load
        warm_classifiers(make_settings(data_dir=tmp_path, model=("torn", "sound")))
