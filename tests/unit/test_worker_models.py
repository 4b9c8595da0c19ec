"""Which model a worker runs: the one that was chosen when the job was accepted, by its version."""

from pathlib import Path

import pytest

from beholder.job import JobInput, Message, Options
from beholder.worker.deliveries import choose_model
from helpers import events
from helpers.rig import BUCKET, Rig

SERVED = ("first@1", "second@1", "second@2", "torn")
"""The last one could not be loaded, so its version is not known."""


@pytest.mark.parametrize(
    ("named", "chosen", "ran"),
    [
        # As it was chosen.
        (None, "first@1", "first@1"),
        (None, "second@2", "second@2"),
        ("second", "second@2", "second@2"),
        ("second@1", "second@1", "second@1"),
        ("torn", "torn@5", "torn"),
        # From a web process that chooses nothing.
        (None, None, "first@1"),
        ("second", None, "second@1"),
        ("second@2", None, "second@2"),
        # The version that was chosen is gone: what the caller asked for.
        (None, "first@0", "first@1"),
        (None, "third@1", "first@1"),
        ("second", "second@0", "second@1"),
        # The caller asked for exactly that.
        ("second@0", "second@0", "second@0"),
        ("third", "third@1", "third"),
    ],
)
def test_a_worker_runs_what_was_chosen_or_else_what_was_asked_for(
    named: str | None, chosen: str | None, ran: str
) -> None:
    message = Message("id", 1.0, JobInput("a.jpg", "a.jpg", 3, Options(named)), model=chosen)
    assert choose_model(message, SERVED, "first@1") == ran


@pytest.mark.parametrize("options", [Options(include=(1,)), Options(exclude=(1,))])
def test_filters_are_not_for_the_labels_of_another_version(tmp_path: Path, options: Options) -> None:
    rig = Rig(tmp_path)
    worker = rig.begun()
    message = rig.send(b"cat", options=options, model="first@0")
    served = rig.send(b"cat", options=options, model="second@1")
    worker.tick()
    job = rig.result(message)
    assert (job["error"]["code"], job["model"], job["model_version"]) == ("model_not_found", "first", "0")
    assert rig.result(served)["model"] == "second"


def test_an_upload_runs_on_the_default_that_the_bucket_names(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    named: list[str | None] = [None, "second@1", "third@1"]
    worker = rig.begun(upload_default=lambda: named.pop(0))
    for number in range(3):
        key = f"drop/{number}.jpg"
        rig.images.put(key, b"cat")
        rig.queue.send([events.body(key, bucket=BUCKET, size=3, sequencer="1")])
        worker.tick()
    assert [len(rig.classifiers[name].batches) for name in ("first@1", "second@1")] == [2, 1]
