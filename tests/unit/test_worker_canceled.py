"""Canceled jobs: one that waits never runs, and looking for them costs next to nothing."""

import contextlib
import json
from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable, JobCanceled
from beholder.job import Failure, Message, new_job_id
from beholder.results.outcomes import failed_job, store_outcome
from beholder.store.keys import CANCELED, canceled_key, result_key
from beholder.worker.cancellations import Cancellations
from helpers.rig import Death, RecordedPort, Rig

FAILURE = Failure(JobCanceled.code, JobCanceled.http_status, "Canceled.")
DAY_S = 86_400.0


def mark(rig: Rig, message: Message) -> None:
    rig.results.put(canceled_key(message.job_id), b"")


def cancel(rig: Rig, message: Message) -> bytes:
    """Cancel a job as a web process does."""
    mark(rig, message)
    return store_outcome(rig.results, failed_job(message, FAILURE, rig.clock.now_s()))


def marks(rig: Rig) -> list[str]:
    return [one.key.removeprefix(CANCELED) for one in rig.results.list(CANCELED)]


def images_run(rig: Rig) -> int:
    return sum(rig.classifiers["first@1"].batches)


@pytest.mark.parametrize("is_inline", [False, True])
def test_a_canceled_job_that_waits_never_runs(tmp_path: Path, *, is_inline: bool) -> None:
    rig = Rig(tmp_path)
    worker = rig.begun()
    canceled, other = rig.send(b"cat", image=b"cat" if is_inline else None), rig.send(b"dog")
    document = cancel(rig, canceled)
    # when
    worker.tick()
    # then: only the other ran, and whoever waits is told what stands
    assert images_run(rig) == 1
    assert rig.label(other) == "dog"
    assert rig.results.get(result_key(canceled.job_id)) == document
    assert json.loads(document)["status"] == "canceled"
    assert {job["id"]: job["status"] for job in rig.replied()} == {
        canceled.job_id: "canceled",
        other.job_id: "succeeded",
    }
    # and nothing is left of it
    assert rig.is_idle()
    assert marks(rig) == []
    assert [call for call in rig.recorder.calls if call.startswith("images.")] == ["images.get"]


def test_a_mark_without_an_outcome_counts_for_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    worker = rig.begun()
    message = rig.send(b"cat")
    mark(rig, message)
    worker.tick()
    assert rig.label(message) == "cat"
    assert marks(rig) == []


@pytest.mark.parametrize("dies_after", [False, True])
@pytest.mark.parametrize("dies_at", range(8))
def test_a_canceled_job_never_runs_though_its_worker_dies_at_any_call(
    tmp_path: Path, dies_at: int, *, dies_after: bool
) -> None:
    rig = Rig(tmp_path)
    recorded = RecordedPort(rig.results, "marks", rig.recorder)
    worker = rig.begun(cancellations=Cancellations(recorded, rig.clock, 0.0))
    message = rig.send(b"cat")
    document = cancel(rig, message)
    rig.recorder.dies_at, rig.recorder.dies_after = dies_at, dies_after
    # when: the process dies, unless the call raised an error anyway
    with contextlib.suppress(Death):
        worker.tick()
    assert len(rig.recorder.calls) > dies_at
    rig.recorder.is_dead, rig.recorder.dies_at = False, None
    successor = rig.worker()
    for _ in range(4):
        successor.tick()
        rig.clock.advance(60.0)
    # then
    assert images_run(rig) == 0
    assert rig.results.get(result_key(message.job_id)) == document
    assert rig.is_idle()


def test_marks_are_listed_only_for_messages_that_waited_and_seldom(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    results = RecordedPort(rig.results, "marks", rig.recorder)
    worker = rig.begun(cancellations=Cancellations(results, rig.clock, 30.0))
    # a message that is received at once
    rig.send(b"cat")
    worker.tick()
    assert "marks.list" not in rig.recorder.calls
    # a backlog
    waiting = [rig.send(b"cat") for _ in range(12)]
    rig.clock.advance(30.0)
    for _ in range(3):
        worker.tick()
    assert rig.recorder.calls.count("marks.list") == 1
    assert "marks.get" not in rig.recorder.calls
    assert all(rig.label(one) == "cat" for one in waiting)


def test_a_job_that_is_canceled_late_on_aws_runs_in_vain(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    worker = rig.begun(cancellations=Cancellations(rig.results, rig.clock, 30.0))
    message = rig.send(b"cat")
    document = cancel(rig, message)
    worker.tick()
    assert images_run(rig) == 1
    assert rig.results.get(result_key(message.job_id)) == document
    assert [job["status"] for job in rig.replied()] == ["canceled"]
    # its message never comes again, so its mark would count among those of jobs that wait
    assert marks(rig) == []


def test_a_mark_whose_job_has_no_message_is_deleted_after_a_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    worker = rig.begun(cancellations=Cancellations(rig.results, rig.clock, 30.0))
    rig.results.put(canceled_key(new_job_id(rig.clock.now_s())), b"")
    for seconds, left in ((DAY_S - 60.0, 1), (60.0, 0)):
        rig.clock.advance(seconds)
        rig.send(b"dog")
        rig.clock.advance(30.0)
        worker.tick()
        assert len(marks(rig)) == left


def test_marks_that_cannot_be_read_or_deleted_stop_no_job(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    results = RecordedPort(rig.results, "marks", rig.recorder)
    worker = rig.begun(cancellations=Cancellations(results, rig.clock, 0.0))
    first, second = rig.send(b"cat"), rig.send(b"dog")
    mark(rig, first)
    rig.recorder.failures["marks.list"] = BackendUnavailable("store", "list")
    worker.tick()
    assert (rig.label(first), rig.label(second)) == ("cat", "dog")
    del rig.recorder.failures["marks.list"]
    rig.recorder.failures["marks.delete"] = BackendUnavailable("store", "delete")
    third = rig.send(b"hen")
    mark(rig, third)
    worker.tick()
    assert rig.label(third) == "hen"
    assert rig.is_idle()
