"""The store's contract on every embedded backend."""

from pathlib import Path

import pytest

from beholder.store import FolderStore, MemoryStore, Store
from beholder.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestFolderStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path / "bucket")
