"""The shadow model: it runs after the answers, when nothing waits, and never changes or delays one."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.job import JobInput, Message, Options, new_job_id
from beholder.job.reply import Reply
from beholder.results.counters import UnreportedCounters
from beholder.telemetry.metrics import Telemetry
from beholder.worker.consumer import Consumer, SharedPolls
from beholder.worker.shadow import Sample, Shadow
from helpers.rig import FakeClassifier, Rig, prepare


class Other(FakeClassifier):
    """Sees another label than `FakeClassifier` in an image of a dog."""

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        rows = super().classify(images)
        return rows[:, [0, 2, 1, 3]]


def shadow_of(classifier: FakeClassifier, share: float = 1.0, *, is_heavy: bool = False) -> Shadow:
    return Shadow(classifier, prepare, share, lambda _data: is_heavy)


class Shadowed:
    """A rig whose workers have a shadow."""

    def __init__(self, folder: Path, share: float = 1.0, *, is_heavy: bool = False) -> None:
        self.rig = Rig(folder)
        self.classifier = Other("third")
        self.shadow = shadow_of(self.classifier, share, is_heavy=is_heavy)
        self.unreported = UnreportedCounters(self.shadow.totals)

    def worker(self, name: str = "worker-0", **more: Any) -> Consumer:
        return self.rig.begun(name, shadow=self.shadow, unreported=self.unreported, **more)


@pytest.fixture
def shadowed(tmp_path: Path) -> Shadowed:
    return Shadowed(tmp_path)


def reported(rig: Rig) -> dict[str, int]:
    """Return what the replies to the web process have counted."""
    total: dict[str, int] = {}
    while received := rig.replies["web-0"].receive(count_max=10, wait_s=0):
        for one in received:
            for name, count in Reply.from_bytes(one.body).calls.items():
                total[name] = total.get(name, 0) + count
    return total


def test_the_shadow_runs_after_the_answers_and_its_counts_are_reported(shadowed: Shadowed) -> None:
    rig, worker = shadowed.rig, shadowed.worker()
    messages = [rig.send(data) for data in (b"cat", b"dog", b"hen")]
    worker.tick()
    assert [rig.label(message) for message in messages] == ["cat", "dog", "hen"]
    assert rig.is_idle()
    assert shadowed.classifier.batches == []
    rig.recorder.calls.clear()
    assert [worker.tick() for _ in range(3)] == [0.0] * 3
    assert shadowed.classifier.batches == [1] * 3
    assert rig.recorder.calls == ["queue.receive"] * 3 + ["replies.send"]
    worker.tick()
    assert shadowed.classifier.batches == [1] * 3
    # Two of the three label names differ in place, and all are among the best five.
    assert reported(rig) == {"shadow:agreed": 1, "shadow:disagreed": 2, "shadow:shared": 12}
    assert [rig.label(message) for message in messages] == ["cat", "dog", "hen"]


def test_what_comes_goes_before_the_shadow(shadowed: Shadowed) -> None:
    rig, worker = shadowed.rig, shadowed.worker()
    for _ in range(3):
        rig.send(b"cat")
    worker.tick()
    worker.tick()
    assert shadowed.classifier.batches == [1]
    for _ in range(5):
        later = rig.send(b"hen")
        worker.tick()
        assert rig.label(later) == "hen"
    assert shadowed.classifier.batches == [1], "while there is a backlog, the shadow waits"


@pytest.mark.parametrize("stop", ["drain", "pause"])
def test_a_worker_that_leaves_runs_no_shadow(shadowed: Shadowed, stop: str) -> None:
    worker = shadowed.worker()
    shadowed.rig.send(b"cat")
    worker.tick()
    getattr(worker, stop)()
    worker.tick()
    assert shadowed.classifier.batches == []


def test_a_shadow_that_fails_costs_no_answer(shadowed: Shadowed, caplog: pytest.LogCaptureFixture) -> None:
    rig, worker = shadowed.rig, shadowed.worker()
    shadowed.classifier.failure = RuntimeError("the shadow broke")
    message = rig.send(b"cat")
    worker.tick()
    worker.tick()
    assert rig.label(message) == "cat"
    assert reported(rig) == {"shadow:failed": 1}
    assert [one.action for one in caplog.records if one.levelname == "WARNING"] == ["worker.shadow_failed"]


def test_a_job_that_failed_or_was_not_stored_is_not_compared(shadowed: Shadowed) -> None:
    rig, worker = shadowed.rig, shadowed.worker()
    rig.send(b"!damaged")
    worker.tick()
    worker.tick()
    rig.recorder.failures["results.put"] = RuntimeError("no")
    rig.send(b"cat")
    with pytest.raises(RuntimeError):
        worker.tick()
    assert shadowed.classifier.batches == []
    assert not shadowed.shadow.has_work


def test_a_consumer_runs_the_shadow_while_another_waits_for_messages(shadowed: Shadowed) -> None:
    polls = SharedPolls()
    worker = shadowed.worker(polls=polls)
    shadowed.rig.send(b"cat")
    worker.tick()
    shadowed.rig.recorder.calls.clear()
    with polls.lock:
        assert worker.tick() == 0.0
    assert shadowed.classifier.batches == [1]
    assert shadowed.rig.recorder.calls == ["replies.send"]


def message_of(number: int, model: str | None = None) -> Message:
    job_id = new_job_id(1e9 + number)
    return Message(job_id, 1e9, JobInput("a.jpg", "a.jpg", 3, Options(model)))


@pytest.mark.parametrize(
    ("named", "ran", "is_heavy", "is_taken"),
    [
        (None, "first@1", False, True),
        ("first", "first@1", False, False),
        (None, "third@1", False, False),
        (None, "first@1", True, False),
    ],
)
def test_the_share_is_of_the_default_s_light_images(
    named: str | None, ran: str, *, is_heavy: bool, is_taken: bool
) -> None:
    shadow = shadow_of(Other("third"), is_heavy=is_heavy)
    assert shadow.takes(message_of(1, named), ran, b"cat") is is_taken


def test_a_share_is_a_share_and_the_same_at_every_delivery() -> None:
    messages = [message_of(number) for number in range(2000)]
    taken = [shadow_of(Other("third"), 0.25).takes(one, "first@1", b"cat") for one in messages]
    assert 400 <= sum(taken) <= 600
    assert [shadow_of(Other("third"), 0.25).takes(one, "first@1", b"") for one in messages] == taken
    assert not any(shadow_of(Other("third"), 0.0).takes(one, "first@1", b"") for one in messages)


@pytest.mark.parametrize(("size", "kept"), [(1, 64), (10_000_000, 4), (40_000_001, 0)])
def test_images_that_wait_for_the_shadow_are_bounded(size: int, kept: int) -> None:
    shadow, data = shadow_of(Other("third")), bytes(size)
    for number in range(70):
        shadow.offer(Sample(message_of(number), data, "first@1", ("cat",)))
    assert shadow.totals() == {"shadow:skipped": 70 - kept}
    while shadow.compare_next():
        pass
    shadow.offer(Sample(message_of(1), b"cat", "first@1", ("cat",)))
    assert shadow.has_work, "what was compared makes room"


def test_one_consumer_at_a_time_runs_the_shadow() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Other):
        def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            entered.set()
            leave.wait(30)
            return super().classify(images)

    shadow = shadow_of(Slow("third"))
    for number in range(2):
        shadow.offer(Sample(message_of(number), b"cat", "first@1", ("cat",)))
    thread = threading.Thread(target=shadow.compare_next)
    thread.start()
    assert entered.wait(30)
    assert (shadow.has_work, shadow.compare_next()) == (False, None)
    leave.set()
    thread.join()
    assert shadow.has_work


def test_comparisons_are_metrics_and_no_calls_to_aws() -> None:
    telemetry = Telemetry()
    for _ in range(2):
        telemetry.count_calls(
            "worker", {"shadow:agreed": 2, "shadow:shared": 7, "shadow:odd": 1, "s3:GetObject": 3}
        )
    text = telemetry.expose().decode()
    assert 'beholder_shadow_comparisons_total{result="agreed"} 4.0' in text
    assert 'beholder_shadow_comparisons_total{result="failed"} 0.0' in text
    assert "beholder_shadow_shared_labels_total 14.0" in text
    assert 'operation="GetObject",process="worker",service="s3"} 6.0' in text
    assert 'service="shadow"' not in text
    assert "odd" not in text
