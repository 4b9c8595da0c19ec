"""Bells without a queue around them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beholder.queue.notifier import Notifiers


@pytest.fixture
def notifiers(tmp_path: Path) -> Notifiers:
    return Notifiers(tmp_path / "bells")


def test_a_notifier_rings_once(notifiers: Notifiers) -> None:
    with notifiers.hang() as notifier:
        assert not notifier.wait(0)
        notifiers.ring()
        assert notifier.wait(10)
        assert list(notifiers._folder.iterdir()) == []


def test_ringing_reaches_as_many_as_it_should(notifiers: Notifiers) -> None:
    with notifiers.hang() as first, notifiers.hang() as second, notifiers.hang() as third:
        notifiers.ring(2)
        assert sum(notifier.wait(0) for notifier in (first, second, third)) == 2
        notifiers.ring(2)
        assert sum(notifier.wait(0) for notifier in (first, second, third)) == 3


def test_nobody_waiting_is_no_error(notifiers: Notifiers) -> None:
    notifiers.ring()
    with notifiers.hang():
        pass
    notifiers.ring()
    notifiers.ring(0)


def test_a_lost_folder_is_no_error_for_those_who_ring(notifiers: Notifiers) -> None:
    """What they sent is stored by then; an error would make them send it once more."""
    notifiers._folder.touch()
    notifiers.ring()


def test_the_notifier_of_a_dead_process_is_removed_and_the_next_rung(notifiers: Notifiers) -> None:
    notifiers._folder.mkdir()
    for number in range(20):
        os.mkfifo(notifiers._folder / f"dead-{number}")
    with notifiers.hang() as notifier:
        notifiers.ring()
        assert notifier.wait(10)
    notifiers.ring()
    assert list(notifiers._folder.iterdir()) == []


def test_of_many_who_ring_one_reaches_a_notifier(notifiers: Notifiers) -> None:
    together = threading.Barrier(8)

    def ring() -> None:
        together.wait(timeout=30)
        notifiers.ring()

    with notifiers.hang() as first, notifiers.hang() as second, ThreadPoolExecutor(8) as pool:
        for task in [pool.submit(ring) for _ in range(8)]:
            task.result()
        for notifier in (first, second):
            assert notifier.wait(10)
            assert os.read(notifier._reader, 100) == b"!"


def test_a_removed_folder_comes_back(notifiers: Notifiers) -> None:
    with notifiers.hang() as notifier:
        notifiers.remove()
        notifiers.ring()
        assert not notifier.wait(0)
    notifiers.remove()
    with notifiers.hang() as notifier:
        notifiers.ring()
        assert notifier.wait(10)
