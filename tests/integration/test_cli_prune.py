"""`beholder prune` and the retention of a running service, on real folders."""

import json
import os
import time
from pathlib import Path

from beholder.store.folder import FolderStore
from helpers.data_folder import fill, run
from helpers.images import jpeg
from helpers.service import RunningService

DAY_S = 86_400.0


def age(folder: Path, seconds: float) -> None:
    """Make every file and folder look as if it had been stored so long ago."""
    then_s = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (then_s, then_s))


def files(data_dir: Path) -> list[str]:
    return sorted(
        str(path.relative_to(data_dir / "buckets"))
        for path in (data_dir / "buckets").rglob("*")
        if path.is_file() and ".locks" not in path.parts
    )


def test_prune_deletes_by_bytes_and_leaves_what_waits(tmp_path: Path) -> None:
    ids = fill(tmp_path, 6, finished=4)
    before = files(tmp_path)
    status, told, _ = run("prune", "--data-dir", str(tmp_path), "--retention-bytes-max", "0B", "--dry-run")
    assert (status, told.split(",")[0]) == (0, "would delete 4 jobs")
    assert files(tmp_path) == before
    status, told, _ = run("prune", "--data-dir", str(tmp_path), "--retention-bytes-max", "0B")
    assert (status, told.split(",")[0]) == (0, "deleted 4 jobs")
    told = run("prune", "--data-dir", str(tmp_path), "--retention-bytes-max", "0B", "--json")[1]
    assert json.loads(told) == {"is_deleted": True, "jobs": 0, "size_bytes": 0}
    left = files(tmp_path)
    assert len(left) == 4  # two images, each with its metadata
    assert all(any(one in path for one in ids[4:]) for path in left)
    assert not any(
        path.is_dir() and not any(path.iterdir()) for path in (tmp_path / "buckets").rglob("images/*")
    )


def test_nothing_young_is_pruned_though_its_files_look_old(tmp_path: Path) -> None:
    fill(tmp_path, 2, finished=2)
    before = files(tmp_path)
    age(
        tmp_path / "buckets", 30 * DAY_S
    )  # as a restored backup or a wrong clock leaves them; the ids are new
    assert run("prune", "--data-dir", str(tmp_path), "--retention", "1d")[1].startswith("deleted 0 jobs")
    assert files(tmp_path) == before


def test_a_wrong_age_is_reported(tmp_path: Path) -> None:
    status, _, errors = run("prune", "--data-dir", str(tmp_path), "--retention", "soon")
    assert status == 2
    assert "--retention: retention is 'soon'; use forever or a number with one of the units" in errors


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("images/a/kept.jpg", b"x", metadata={"order": "{}"})
    store.put("images/a/b#1", b"a key that only looks like a leftover")
    for leftover in ("images/a/kept.jpg#1", "images/b/only.jpg#3", ".metadata/images/a/kept.jpg#0"):
        (tmp_path / leftover).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / leftover).write_bytes(b"unfinished")
    assert store.tidy(time.time() - 3600) == 0
    age(tmp_path, 7200)
    (tmp_path / "images/a/young.jpg#1").write_bytes(b"being written")
    assert store.tidy(time.time() - 3600) >= 3
    assert {info.key for info in store.list("")} == {"images/a/kept.jpg", "images/a/b#1"}
    assert (tmp_path / "images/a/young.jpg#1").exists()
    assert [path.name for path in (tmp_path / "images/a").iterdir() if path.name.startswith("kept")] == [
        "kept.jpg"
    ]
    assert store.head("images/a/kept.jpg").metadata == {"order": "{}"}


def test_a_running_service_deletes_what_is_old(tmp_path: Path) -> None:
    with RunningService(tmp_path, workers=1, retention="1s", retention_bytes_max="10GB") as service:
        service.await_line("deleted after 1s and beyond 10GB; BEHOLDER_RETENTION=forever keeps them")
        reply = service.classify(jpeg(1), idempotency_key="one")
        assert reply.status == 200
        service.await_line("retention.deleted")
        location = f"/v1/jobs/{reply.json['id']}"
        assert service.get(location).status == 404
        assert service.classify(jpeg(1), idempotency_key="one").status == 200
