"""With `durability = "power"` a put waits for the disk: for the file and for every name on the way to it."""

import os
from pathlib import Path

import pytest

from beholder.store.folder import FolderStore


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every path that is synced, in order; the real sync still happens."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        paths.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    return paths


def test_a_put_waits_for_the_file_and_its_folders(tmp_path: Path, synced: list[Path]) -> None:
    store = FolderStore(tmp_path / "bucket", fsync=True)
    store.put("images/1/a.jpg", b"bytes", metadata={"order": "x"})
    bucket = tmp_path / "bucket"
    twin = bucket / ".metadata" / "images" / "1" / "a.jpg"
    assert synced.index(twin) < synced.index(bucket / "images" / "1" / "a.jpg")
    assert {bucket / "images" / "1", bucket / "images", bucket} <= set(synced)


def test_by_default_nothing_waits_for_the_disk(tmp_path: Path, synced: list[Path]) -> None:
    store = FolderStore(tmp_path / "bucket")
    store.put("images/1/a.jpg", b"bytes", metadata={"order": "x"})
    store.put("results/1.json", b"{}", only_if_absent=True)
    assert synced == []
