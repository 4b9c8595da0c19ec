"""The in-flight journal: what one worker writes, its successor reads, wherever the writing broke off."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beholder.queue.port import Received
from beholder.worker.journal import InFlightJournal, LeftBehind

NOTHING = LeftBehind((), None, resumed=False)
HELD = (Received(b"one", "1-a", 1), Received(b"\x00\xff", "2-b", 3))

DELIVERIES = st.lists(
    st.builds(Received, st.binary(max_size=50), st.text(max_size=20), st.integers(1, 99)), max_size=10
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[InFlightJournal]:
    opened = InFlightJournal(path)
    yield opened
    opened.close()


def read(path: Path) -> LeftBehind:
    successor = InFlightJournal(path)
    try:
        return successor.left_behind()
    finally:
        successor.close()


def test_a_new_journal_is_empty(journal: InFlightJournal, path: Path) -> None:
    assert journal.left_behind() == read(path) == NOTHING


@given(held=DELIVERIES, resumed=st.booleans(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_held_is_read_back(
    journal: InFlightJournal, path: Path, held: list[Received], data: st.DataObject, *, resumed: bool
) -> None:
    journal.hold(held, resumed=resumed)
    assert read(path) == LeftBehind(tuple(held), None, resumed)
    if held:
        number = data.draw(st.integers(0, len(held) - 1))
        journal.decoding(number)
        assert read(path) == LeftBehind(tuple(held), held[number], resumed)
        journal.decoding(None)
        assert read(path) == LeftBehind(tuple(held), None, resumed)


def test_a_shorter_batch_leaves_nothing_of_a_longer_one(journal: InFlightJournal, path: Path) -> None:
    journal.hold(HELD * 5)
    journal.decoding(7)
    journal.hold(HELD[:1])
    assert read(path) == LeftBehind(HELD[:1], None, resumed=False)


def test_a_cleared_journal_is_empty(journal: InFlightJournal, path: Path) -> None:
    journal.hold(HELD)
    journal.decoding(1)
    journal.clear()
    assert read(path) == NOTHING
    # even if the worker still writes that it decodes nothing
    journal.decoding(None)
    assert read(path) == NOTHING


def test_a_write_that_broke_off_anywhere_counts_as_empty(journal: InFlightJournal, path: Path) -> None:
    journal.hold(HELD)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read(path) == NOTHING, length


def test_a_shorter_journal_written_over_a_longer_one_and_not_cut_counts_as_empty(
    journal: InFlightJournal, path: Path
) -> None:
    journal.hold(HELD[:1])
    short = path.read_bytes()
    journal.hold(HELD)
    long = path.read_bytes()
    path.write_bytes(short + long[len(short) :])
    assert read(path) == NOTHING


@given(garbage=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_counts_as_empty(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    assert read(path) == NOTHING


def test_other_users_cannot_read_what_clients_sent(journal: InFlightJournal, path: Path) -> None:
    journal.hold(HELD)
    assert path.stat().st_mode & 0o077 == 0


# --- on a full disk -----------------------------------------------------------------------------------------


def full(_fd: int, _data: bytes, _offset: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def nearly_full(fd: int, data: bytes, offset: int) -> int:
    return WRITE(fd, data[: len(data) // 2], offset)


WRITE = os.pwrite


@pytest.mark.parametrize("disk", [full, nearly_full])
def test_on_a_full_disk_there_is_no_journal(
    journal: InFlightJournal, path: Path, monkeypatch: pytest.MonkeyPatch, disk: Callable[..., int]
) -> None:
    # given
    journal.hold(HELD)
    journal.decoding(1)
    # when
    monkeypatch.setattr(os, "pwrite", disk)
    journal.hold(HELD[:1])
    journal.decoding(0)
    monkeypatch.undo()
    # then: no journal rather than a wrong one
    journal.decoding(0)
    assert read(path) == NOTHING
    journal.hold(HELD)
    assert read(path) == LeftBehind(HELD, None, resumed=False)


def test_a_disk_that_fills_up_within_a_batch_leaves_no_journal(
    journal: InFlightJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.hold(HELD)
    monkeypatch.setattr(os, "pwrite", full)
    journal.decoding(1)
    monkeypatch.undo()
    assert read(path) == NOTHING
