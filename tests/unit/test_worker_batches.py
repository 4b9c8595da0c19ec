"""A batch: its objects are read and written at the same time, and it is one reply to each web process."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import BackendThrottled, BackendUnavailable
from beholder.job.reply import Reply
from beholder.worker import steps
from helpers.rig import Rig, take_all

WAIT_S = 30.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def threads() -> Iterable[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_images_are_read_and_results_written_at_the_same_time(rig: Rig, threads: ThreadPoolExecutor) -> None:
    # given: a store whose every call waits for three others
    worker = rig.begun(map_items=threads.map)
    messages = [rig.send(image) for image in (b"cat", b"dog", b"hen", b"owl")]
    together = threading.Barrier(4)
    for store, method in ((rig.images, "get"), (rig.results, "put")):
        wait_for_others(store, method, together)
    # when
    worker.tick()
    # then
    assert [rig.label(message) for message in messages] == ["cat", "dog", "hen", "owl"]
    assert [job["id"] for job in rig.replied()] == [message.job_id for message in messages]
    del rig.images.get, rig.results.put  # type: ignore[misc]


def wait_for_others(store: Any, method: str, together: threading.Barrier) -> None:
    call = getattr(store, method)

    def waiting(*args: Any, **more: Any) -> Any:
        together.wait(WAIT_S)
        return call(*args, **more)

    setattr(store, method, waiting)


@pytest.mark.parametrize("place", ["images.get", "results.put"])
def test_where_one_fails_the_others_end_before_the_batch_is_tried_again(rig: Rig, place: str) -> None:
    # given
    ended: list[int] = []

    def map_items(function: Any, items: Sequence[Any]) -> list[Any]:
        made = [function(one) for one in items]
        ended.append(len(made))
        return made

    worker = rig.begun(map_items=map_items)
    messages = [rig.send(b"cat"), rig.send(b"dog")]
    rig.recorder.failures[place] = BackendThrottled("s3 store", place)
    # when
    with pytest.raises(BackendThrottled):
        worker.tick()
    # then
    assert rig.recorder.calls.count(place) == 3  # once more, for another key: is it the store or these two?
    assert set(ended) == {2}
    assert "replies.send" not in rig.recorder.calls
    rig.recorder.failures.clear()
    worker.tick()
    assert [rig.label(message) for message in messages] == ["cat", "dog"]


def test_of_several_errors_the_first_is_raised(rig: Rig) -> None:
    worker = rig.begun(map_items=lambda function, items: list(map(function, items)))
    rig.send(b"cat")
    rig.send(b"dog")
    errors = iter([BackendThrottled("s3 store", "get"), BackendUnavailable("s3 store", "get")])

    def failing(_: str) -> bytes:
        raise next(errors)

    rig.images.get = failing  # type: ignore[method-assign]
    with pytest.raises(BackendThrottled):
        worker.tick()


def test_a_batch_is_one_reply_to_each_web_process(rig: Rig) -> None:
    worker = rig.begun()
    messages = [rig.send(b"cat", reply_to=f"web-{number % 2}") for number in range(4)]
    worker.tick()
    for number, name in enumerate(("web-0", "web-1")):
        (received,) = take_all(rig.replies[name])
        documents = Reply.from_bytes(received.body).documents
        results = [rig.results.get(f"results/{one.job_id}.json") for one in messages[number::2]]
        assert list(documents) == results


def test_a_file_is_freed_when_it_is_decoded(rig: Rig) -> None:
    ports = rig.begun()._ports
    rig.send(b"cat")
    fetched = steps.fetch(ports, steps.read(ports, rig.queue.receive(count_max=1, wait_s=0)))
    assert [one.data for one in fetched] == [b"cat"]
    announced: list[str] = []
    steps.decode(ports, fetched, lambda delivery: announced.append(delivery.message.job_id))
    assert [one.data for one in fetched] == [None]
    assert announced == [fetched[0].delivery.message.job_id]
