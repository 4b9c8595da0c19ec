"""Notifiers without a queue around them."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from beholder.queue.notifier import Notifiers
from beholder.queue.sqlite import SqliteQueue


@pytest.fixture
def notifiers(tmp_path: Path) -> Notifiers:
    return Notifiers(tmp_path / "notifiers")


def test_a_notifier_is_used_once(notifiers: Notifiers) -> None:
    with notifiers.listening() as notifier:
        assert not notifier.wait(0)
        notifiers.notify()
        assert notifier.wait(10)
        assert list(notifiers._folder.iterdir()) == []


def test_as_many_receives_are_notified_as_asked_for(notifiers: Notifiers) -> None:
    with notifiers.listening() as first, notifiers.listening() as second, notifiers.listening() as third:
        notifiers.notify(2)
        assert sum(notifier.wait(0) for notifier in (first, second, third)) == 2
        notifiers.notify(2)
        assert sum(notifier.wait(0) for notifier in (first, second, third)) == 3


def test_a_process_that_ends_interrupts_what_waits_and_leaves_no_message(tmp_path: Path) -> None:
    with ExitStack() as stack:
        queue, other = (
            stack.enter_context(SqliteQueue(tmp_path / "queue.sqlite", "images")) for _ in range(2)
        )
        queue._notifiers._folder.mkdir(parents=True)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(queue.interrupt)  # or a failure would wait for the thread
        waiting = pool.submit(queue.receive, count_max=1, wait_s=600.0)
        while not os.listdir(queue._notifiers._folder):  # noqa: PTH208
            assert not waiting.done()
        queue.interrupt()
        assert waiting.result(60) == []
        other.send([b"one"])
        assert [one.body for one in queue.receive(count_max=1, wait_s=600.0)] == [b"one"]
        assert queue.receive(count_max=1, wait_s=600.0) == []


def test_a_watcher_sees_each_send_and_receives_nothing(tmp_path: Path) -> None:
    with (
        SqliteQueue(tmp_path / "queue.sqlite", "images") as queue,
        SqliteQueue(tmp_path / "queue.sqlite", "images") as other,
    ):
        for body in (b"one", b"two"):
            with queue.watching() as watcher:
                assert not watcher.wait(0)
                other.send([body])
                assert watcher.wait(60)
        with queue.watching() as watcher:
            assert len(other.receive(count_max=2, wait_s=0)) == 2
            assert not watcher.wait(0)


def test_a_successor_notifies_of_what_a_dead_sender_has_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteQueue(tmp_path / "queue.sqlite", "images") as queue, queue._notifiers.listening() as notifier:
        with monkeypatch.context() as killed:
            killed.setattr(Notifiers, "notify", lambda *_: None)
            queue.send([b"one"])
        assert not notifier.wait(0)
        with SqliteQueue(tmp_path / "queue.sqlite", "images"):
            assert notifier.wait(60)


def test_a_send_without_a_waiting_receive_is_no_error(notifiers: Notifiers) -> None:
    notifiers.notify()
    with notifiers.listening():
        pass
    notifiers.notify()
    notifiers.notify(0)


def test_a_lost_folder_is_no_error_for_a_sender(notifiers: Notifiers) -> None:
    """What it sent is stored by then; an error would make it send once more."""
    notifiers._folder.touch()
    notifiers.notify()


def test_the_notifier_of_a_dead_process_is_removed_and_the_next_is_used(notifiers: Notifiers) -> None:
    notifiers._folder.mkdir()
    for number in range(20):
        os.mkfifo(notifiers._folder / f"dead-{number}")
    with notifiers.listening() as notifier:
        notifiers.notify()
        assert notifier.wait(10)
    notifiers.notify()
    assert list(notifiers._folder.iterdir()) == []


def test_of_many_senders_one_reaches_a_notifier(notifiers: Notifiers) -> None:
    together = threading.Barrier(8)

    def notify() -> None:
        together.wait(timeout=30)
        notifiers.notify()

    with notifiers.listening() as first, notifiers.listening() as second, ThreadPoolExecutor(8) as pool:
        for task in [pool.submit(notify) for _ in range(8)]:
            task.result()
        for notifier in (first, second):
            assert notifier.wait(10)
            assert os.read(notifier._reader, 100) == b"!"


def test_a_removed_folder_comes_back(notifiers: Notifiers) -> None:
    with notifiers.listening() as notifier:
        shutil.rmtree(notifiers._folder)
        notifiers.notify()
        assert not notifier.wait(0)
    with notifiers.listening() as notifier:
        notifiers.notify()
        assert notifier.wait(10)
