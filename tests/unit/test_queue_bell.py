"""Bells without a queue around them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beholder.queue.bell import Bells


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


def test_a_bell_rings_once(bells: Bells) -> None:
    with bells.hang() as bell:
        assert not bell.wait(0)
        bells.ring()
        assert bell.wait(10)
        assert list(bells._folder.iterdir()) == []


def test_ringing_reaches_as_many_as_it_should(bells: Bells) -> None:
    with bells.hang() as first, bells.hang() as second, bells.hang() as third:
        bells.ring(2)
        assert sum(bell.wait(0) for bell in (first, second, third)) == 2
        bells.ring(2)
        assert sum(bell.wait(0) for bell in (first, second, third)) == 3


def test_nobody_waiting_is_no_error(bells: Bells) -> None:
    bells.ring()
    with bells.hang():
        pass
    bells.ring()
    bells.ring(0)


def test_a_lost_folder_is_no_error_for_those_who_ring(bells: Bells) -> None:
    """What they sent is stored by then; an error would make them send it once more."""
    bells._folder.touch()
    bells.ring()


def test_the_bell_of_a_dead_process_is_removed_and_the_next_rung(bells: Bells) -> None:
    bells._folder.mkdir()
    for number in range(20):
        os.mkfifo(bells._folder / f"dead-{number}")
    with bells.hang() as bell:
        bells.ring()
        assert bell.wait(10)
    bells.ring()
    assert list(bells._folder.iterdir()) == []


def test_of_many_who_ring_one_reaches_a_bell(bells: Bells) -> None:
    together = threading.Barrier(8)

    def ring() -> None:
        together.wait(timeout=30)
        bells.ring()

    with bells.hang() as first, bells.hang() as second, ThreadPoolExecutor(8) as pool:
        for task in [pool.submit(ring) for _ in range(8)]:
            task.result()
        for bell in (first, second):
            assert bell.wait(10)
            assert os.read(bell._reader, 100) == b"!"


def test_a_removed_folder_comes_back(bells: Bells) -> None:
    with bells.hang() as bell:
        bells.remove()
        bells.ring()
        assert not bell.wait(0)
    bells.remove()
    with bells.hang() as bell:
        bells.ring()
        assert bell.wait(10)
