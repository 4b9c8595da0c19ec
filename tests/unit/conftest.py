"""What files of unit tests share: a web process for each file, and a lock between processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beholder.file_lock import FileLock
from helpers.web_process import Web


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[FileLock]:
    lock = FileLock(tmp_path / "lock")
    yield lock
    lock.close()


@pytest.fixture(scope="module")
def shared_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def web(shared_web: Web) -> Iterator[Web]:
    shared_web.recorder.calls.clear()
    yield shared_web
    shared_web.recorder.failures.clear()
    with shared_web.queue._changed:
        shared_web.queue._messages.clear()  # those in flight too
