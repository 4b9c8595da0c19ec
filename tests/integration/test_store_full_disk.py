"""A full disk: queue and store say so, leave nothing half-written, and go on once there is room.

The disk is a file system of 4 MB in a mount namespace of its own, which ends with the process that uses it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beholder.errors import BackendFull, ObjectNotFound
from beholder.queue import SqliteQueue
from beholder.store import FolderStore

MOUNT = 'mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@"'
# With a user namespace no privilege is needed, where the kernel allows them at all.
NAMESPACES = {"as-root": ["--mount"], "as-anybody": ["--user", "--map-root-user", "--mount"]}


@pytest.mark.parametrize("scenario", ["queue", "store"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_full_disk_costs_nothing_that_was_stored(namespace: str, scenario: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = ["unshare", *NAMESPACES[namespace], "sh", "-c", MOUNT, "sh", str(disk)]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip(f"cannot mount a small file system {namespace}")
    python = [sys.executable, "-W", "error", __file__, scenario, str(disk)]
    outcome = subprocess.run([*unshare, *python], check=False, capture_output=True, text=True, timeout=60)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    path = disk / "ballast"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        for bytes_at_once in (65_536, 4_096, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(bytes_at_once))
    return path


def run_queue(disk: Path) -> None:
    with SqliteQueue(disk / "data" / "queue.db", "work") as queue:
        queue.send([b"before"])
        ballast = fill(disk)
        os.truncate(ballast, ballast.stat().st_size - 1_000_000)
        # a batch larger than the room there is: none of it is stored
        with pytest.raises(BackendFull):
            queue.send([b"small", os.urandom(2_000_000)])
        assert queue.depth().backlog == 1
        # one message after another until there is no room at all
        sent = send_until_full(queue)
        assert 10 < sent < 10_000
        assert queue.depth().backlog == 1 + sent
        # and room again
        ballast.unlink()
        queue.send([b"after"])
        received: list[bytes] = []
        while messages := queue.receive(count_max=10, wait_s=0):
            received += [message.body for message in messages]
            queue.ack([message.receipt for message in messages])
        assert (received[0], received[-1], len(received)) == (b"before", b"after", sent + 2)
    # a queue that cannot even be made
    fill(disk)
    with pytest.raises(BackendFull):
        SqliteQueue(disk / "more" / "queue.db", "work").close()


def send_until_full(queue: SqliteQueue) -> int:
    """Return how many messages there was room for."""
    for sent in range(10_000):
        try:
            queue.send([b"x" * 1_000])
        except BackendFull:
            return sent
    return 10_000


def run_store(disk: Path) -> None:
    store = FolderStore(disk / "bucket")
    store.put("a/kept", b"old", metadata={"version": "old"})
    before = files_of(disk)
    large = os.urandom(8_000_000)
    for only_if_absent in (False, True):
        with pytest.raises(BackendFull):
            store.put("a/new", large, metadata={"m": "x"}, only_if_absent=only_if_absent)
    with pytest.raises(BackendFull):
        store.put("a/new", large)
    with pytest.raises(BackendFull):
        store.put("a/kept", large, metadata={"version": "new"})
    assert files_of(disk) == before
    # no room at all
    ballast = fill(disk)
    for metadata in ({"version": "new"}, None):
        with pytest.raises(BackendFull):
            store.put("a/kept", b"new" * 5_000, metadata=metadata)
    with pytest.raises(BackendFull):
        store.put("a/new", b"new" * 5_000, metadata={"m": "x"})
    assert store.get("a/kept") == b"old"
    assert dict(store.head("a/kept").metadata) == {"version": "old"}
    with pytest.raises(ObjectNotFound):
        store.head("a/new")
    assert [info.key for info in store.list("a/")] == ["a/kept"]
    # and room again
    ballast.unlink()
    assert files_of(disk) == before
    store.put("a/kept", b"new", metadata={"version": "new"})
    store.put("a/new", bytes(1_000_000))
    assert store.get("a/kept") == b"new"
    assert [info.key for info in store.list("")] == ["a/kept", "a/new"]


def files_of(disk: Path) -> dict[str, int]:
    """Return every file on the disk but the locks, which are empty, and its size."""
    files = [path for path in disk.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    return {str(path.relative_to(disk)): path.stat().st_size for path in files}


if __name__ == "__main__":
    {"queue": run_queue, "store": run_store}[sys.argv[1]](Path(sys.argv[2]))
