"""What a worker does with the in-flight journal of a predecessor of its name."""

from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable
from beholder.queue.port import Received
from beholder.worker.journal import InFlightJournal
from helpers.rig import TIMEOUT_S, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def left(rig: Rig, *, current: int | None = None, resumed: bool = False) -> list[Received]:
    """Receive everything, and write the journal of a worker that died while it held that."""
    held = rig.queue.receive(count_max=10, wait_s=0)
    journal = InFlightJournal(rig.in_flight_path())
    journal.hold(held, resumed=resumed)
    journal.decoding(current)
    journal.close()
    return held


def test_a_batch_is_taken_over_under_the_same_receipts(rig: Rig) -> None:
    # given
    messages = [rig.send(image) for image in (b"cat", b"dog", b"hen")]
    left(rig)
    # when
    rig.worker().tick()
    # then: without another receive
    assert "queue.receive" not in rig.recorder.calls
    assert [rig.label(message) for message in messages] == ["cat", "dog", "hen"]
    assert [rig.result(message)["metrics"]["receive_count"] for message in messages] == [1, 1, 1]
    assert rig.is_idle()
    assert rig.in_flight_path().read_bytes() == b""


def test_only_what_was_being_decoded_goes_back_to_the_queue(rig: Rig) -> None:
    messages = [rig.send(image) for image in (b"cat", b"dog", b"hen")]
    left(rig, current=1)
    rig.worker().tick()
    assert [rig.label(messages[0]), rig.label(messages[2])] == ["cat", "hen"]
    (back,) = rig.queue.receive(count_max=10, wait_s=0)
    assert back.body == messages[1].to_bytes()
    assert back.receive_count == 2


def test_the_suspect_is_handed_back_before_the_rest_is_worked_on(rig: Rig) -> None:
    rig.send(b"cat")
    rig.send(b"dog")
    left(rig, current=0)
    rig.worker().tick()
    effects = [one for one in rig.recorder.calls if not one.startswith("images")]
    assert effects == ["queue.extend", "queue.nack", "results.put", "replies.send", "queue.ack"]


def test_what_is_taken_over_stays_hidden_until_the_first_extension(rig: Rig) -> None:
    # given: a successor that takes long, on deliveries whose time is nearly over
    rig.send(b"cat")
    left(rig)
    rig.clock.advance(TIMEOUT_S - 1)
    seen = []

    def slow(images: object) -> object:
        for _ in range(4):
            rig.clock.advance(rig.extender.tick())
            seen.append(rig.queue.depth().in_flight)
        return classify(images)  # type: ignore[arg-type]

    classify = rig.classifiers["first@1"].classify
    rig.classifiers["first@1"].classify = slow  # type: ignore[assignment, method-assign]
    # when
    rig.worker().tick()
    # then
    assert seen == [1, 1, 1, 1]
    assert rig.is_idle()


def test_the_second_death_over_the_same_batch_hands_back_all_of_it(rig: Rig) -> None:
    messages = [rig.send(image) for image in (b"cat", b"dog")]
    left(rig, resumed=True)
    rig.worker().tick()
    assert rig.recorder.calls == ["queue.extend", "queue.nack"]
    back = rig.queue.receive(count_max=10, wait_s=0)
    assert {one.body for one in back} == {one.to_bytes() for one in messages}
    assert {one.receive_count for one in back} == {2}


def test_the_journal_of_a_batch_that_was_taken_over_says_so(rig: Rig) -> None:
    # given
    rig.send(b"cat")
    left(rig)
    found = []
    classify = rig.classifiers["first@1"].classify

    def watching(images: object) -> object:
        journal = InFlightJournal(rig.in_flight_path())
        found.append(journal.left_behind())
        journal.close()
        return classify(images)  # type: ignore[arg-type]

    rig.classifiers["first@1"].classify = watching  # type: ignore[assignment, method-assign]
    # when
    rig.worker().tick()
    # then
    (left_behind,) = found
    assert left_behind.resumed
    assert left_behind.current is None


def test_expired_receipts_are_left_alone(rig: Rig) -> None:
    # given: another worker has taken the messages meanwhile
    rig.send(b"cat")
    rig.send(b"dog")
    left(rig, current=0)
    rig.clock.advance(TIMEOUT_S + 1)
    taken = rig.queue.receive(count_max=10, wait_s=0)
    # when
    rig.worker().tick()
    # then: nothing is worked on twice, and nothing of theirs is touched
    assert list(rig.results.list("results/")) == []
    assert rig.queue.extend([one.receipt for one in taken], timeout_s=1) == []


def test_without_a_journal_nothing_is_touched(rig: Rig) -> None:
    assert rig.worker().tick() == 0.0
    assert rig.recorder.calls == []


@pytest.mark.parametrize(
    "torn",
    [
        b"      -1",
        b"      -1{",
        b'      -1{"held": [{"body": "eA=="',
        b'       9{"held": [], "resumed": false}',
        b"       0[]",
        b"nonsense",
        bytes(100),
    ],
)
def test_a_torn_journal_is_ignored(rig: Rig, torn: bytes) -> None:
    # given
    message = rig.send(b"cat")
    rig.in_flight_path().write_bytes(torn)
    worker = rig.worker()
    # when
    worker.tick()
    worker.tick()
    # then
    assert rig.label(message) == "cat"


def test_a_journal_that_cannot_be_acted_on_yet_is_kept(rig: Rig) -> None:
    # given
    message = rig.send(b"cat")
    left(rig)
    rig.recorder.failures["queue.extend"] = BackendUnavailable("sqlite queue", "extend")
    worker = rig.worker()
    # when
    with pytest.raises(BackendUnavailable):
        worker.tick()
    rig.recorder.failures.clear()
    worker.tick()
    # then
    assert rig.label(message) == "cat"
    assert rig.result(message)["metrics"]["receive_count"] == 1


def test_a_backend_that_fails_under_a_batch_taken_over_costs_it_no_receive(rig: Rig) -> None:
    # given
    message = rig.send(b"cat")
    left(rig)
    rig.recorder.failures["results.put"] = BackendUnavailable("folder store", "put")
    worker = rig.worker()
    for _ in range(10):
        with pytest.raises(BackendUnavailable):
            worker.tick()
        rig.clock.advance(rig.extender.tick())
    # when
    rig.recorder.failures.clear()
    worker.tick()
    # then
    assert rig.result(message)["metrics"]["receive_count"] == 1
    assert "queue.receive" not in rig.recorder.calls


def test_workers_of_other_names_leave_the_journal_alone(rig: Rig) -> None:
    rig.send(b"cat")
    left(rig)
    before = rig.in_flight_path().read_bytes()
    rig.worker("worker-1").tick()
    assert rig.in_flight_path().read_bytes() == before
    assert rig.queue.depth().in_flight == 1
