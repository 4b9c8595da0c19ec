"""A lock between processes: no event loop waits for it, and a thread waits for a bounded time."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beholder import file_lock
from beholder.file_lock import FileLock, is_in_event_loop


@pytest.fixture
def other(tmp_path: Path) -> Iterator[FileLock]:
    other = FileLock(tmp_path / "lock")
    yield other
    other.close()


def test_only_the_thread_of_a_loop_is_in_it() -> None:
    async def ask() -> tuple[bool, bool]:
        return is_in_event_loop(), await asyncio.to_thread(is_in_event_loop)

    assert asyncio.run(ask()) == (True, False)
    assert not is_in_event_loop()


def test_an_event_loop_takes_what_is_free_and_waits_for_nothing(lock: FileLock, other: FileLock) -> None:
    async def take() -> None:
        with lock:
            pass

    asyncio.run(take())
    with other, pytest.raises(OSError, match="another process holds its lock"):
        asyncio.run(take())
    asyncio.run(take())


def test_a_thread_waits_until_the_holder_goes_on(lock: FileLock, other: FileLock) -> None:
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    with ThreadPoolExecutor(1) as threads:
        with other:
            task = threads.submit(take)
            assert not taken.wait(0.05)
        task.result(30)


def test_where_one_waited_in_vain_no_other_waits_until_the_lock_was_free(
    lock: FileLock, other: FileLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "_WAIT_S_MAX", 0.02)
    with other, pytest.raises(OSError, match="does not go on"):
        lock.__enter__()
    monkeypatch.setattr(file_lock, "_WAIT_S_MAX", 1e9)
    with other:
        for _ in range(10):
            with pytest.raises(OSError, match="does not go on"):
                lock.__enter__()
    with lock:
        assert not lock.is_stuck
