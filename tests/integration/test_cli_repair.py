"""A damaged queue file: the service says so and ends; `beholder repair` brings every accepted job back."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beholder.config import make_settings
from beholder.errors import ConfigError
from beholder.job import Message
from beholder.queue import SqliteQueue
from beholder.queue.damage import damage_marker
from beholder.wiring import profile_of
from beholder.wiring.queue_file import check_queue_file
from helpers.data_folder import fill, run
from helpers.images import jpeg
from helpers.service import RunningService

Start = Callable[..., RunningService]


def waiting(data_dir: Path) -> list[Message]:
    """Receive all that the queue holds."""
    found = []
    with profile_of(make_settings(data_dir=data_dir)).open_backends("") as backends:
        while taken := backends.queue.receive(count_max=10, wait_s=0):
            found += [Message.from_bytes(one.body) for one in taken]
    return found


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database at all, is it?" * 500)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def page_overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(data)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_tables(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("create table message(something text)")


def names_of_tables(path: Path) -> None:
    data = path.read_bytes()
    assert b"CREATE TABLE" in data
    path.write_bytes(data.replace(b"CREATE TABLE", b"CREATE \xff\xfe\xfd\xfc\xfb"))


def folder_beside(path: Path, suffix: str) -> None:
    beside = path.with_name(path.name + suffix)
    beside.unlink(missing_ok=True)
    beside.mkdir()


def folder_as_log(path: Path) -> None:
    folder_beside(path, "-wal")


def folder_as_shared_memory(path: Path) -> None:
    folder_beside(path, "-shm")


def folder_as_lock(path: Path) -> None:
    folder_beside(path, ".lock")


def pipe_as_lock(path: Path) -> None:
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink(missing_ok=True)
    os.mkfifo(lock)


DAMAGES = [
    no_database,
    truncated,
    page_overwritten,
    empty,
    gone,
    folder,
    other_tables,
    names_of_tables,
    folder_as_log,
    folder_as_shared_memory,
    folder_as_lock,
    pipe_as_lock,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_a_damaged_queue_is_named_refused_and_repaired(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    ids = fill(tmp_path, 60, finished=20)
    damage(tmp_path / "queue.sqlite")
    with pytest.raises(ConfigError) as refused:
        check_queue_file(make_settings(data_dir=tmp_path))
    assert f"{tmp_path}/queue.sqlite" in str(refused.value)
    assert f"beholder repair --data-dir {tmp_path}" in str(refused.value)
    status, told, errors = run("repair", "--json", "--data-dir", str(tmp_path))
    assert (status, errors) == (0, "")
    done = json.loads(told)
    assert done["kept"] + done["queued"] == 40
    found = waiting(tmp_path)
    assert sorted(one.job_id for one in found) == sorted(ids[20:])
    assert {one.input.options.top_k for one in found} == {3}


def test_an_unreadable_object_of_one_job_does_not_stop_the_repair_of_others(tmp_path: Path) -> None:
    ids = fill(tmp_path, 6)
    gone(tmp_path / "queue.sqlite")
    (bucket,) = (tmp_path / "buckets").glob("*input-bucket")
    (metadata,) = (bucket / ".metadata" / "images" / ids[0]).iterdir()
    outcome = tmp_path / "buckets" / bucket.name.replace("input", "output") / "results" / f"{ids[1]}.json"
    outcome.parent.mkdir(exist_ok=True)
    for path in (metadata, outcome):
        path.unlink(missing_ok=True)
        path.symlink_to(path.name)  # opened, it is refused for ever
    assert run("repair", "--data-dir", str(tmp_path))[0] == 0
    found = waiting(tmp_path)
    assert sorted(one.job_id for one in found) == sorted(ids)
    assert sorted(one.input.options.top_k for one in found) == [3, 3, 3, 3, 3, 5]


def test_a_sound_queue_is_left_with_the_same_messages(tmp_path: Path) -> None:
    ids = fill(tmp_path, 5)
    for _ in range(2):
        status, told, _ = run("repair", "--data-dir", str(tmp_path))
        assert status == 0
        assert "messages kept       5\n" in told
    assert sorted(one.job_id for one in waiting(tmp_path)) == sorted(ids)


def test_up_ends_with_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    no_database(tmp_path / "queue.sqlite")
    status, _, errors = run("up", "--data-dir", str(tmp_path), "--port", "0")
    assert status == 2
    assert len(errors.splitlines()) == 1
    assert "Traceback" not in errors
    assert f"beholder repair --data-dir {tmp_path}" in errors


def test_damage_met_while_it_runs_ends_it(tmp_path: Path) -> None:
    with RunningService(tmp_path, workers=1, workers_min=1) as service:
        assert service.classify(jpeg(1)).status == 200
        path = tmp_path / "queue.sqlite"
        with SqliteQueue(path, "another") as queue:
            for _ in range(200):
                queue.send([b"x" * 3000])
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("pragma wal_checkpoint(truncate)").fetchone()
        path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
        service.classify(jpeg(2), "?wait=1")
        assert service.wait() == 2
        assert any(f"beholder repair --data-dir {tmp_path}" in line for line in service.lines)
    assert damage_marker(path).exists()
    assert run("repair", "--data-dir", str(tmp_path))[0] == 0
    with RunningService(tmp_path, workers=1) as service:
        assert service.classify(jpeg(3)).status == 200


def test_it_refuses_while_something_runs(tmp_path: Path) -> None:
    with RunningService(tmp_path, workers=0) as service:
        status, _, errors = run("repair", "--data-dir", str(tmp_path))
        assert status == 2
        assert f"in use by another beholder (process {service.pid})" in errors


@pytest.mark.slow
def test_a_repair_that_is_killed_anywhere_is_made_good_by_the_next(tmp_path: Path) -> None:
    ids = fill(tmp_path, 1000, finished=100)
    page_overwritten(tmp_path / "queue.sqlite")
    script = (
        "import os, sys, signal\n"
        "left = int(sys.argv[1])\n"
        "def hook(event, args):\n"
        "    global left\n"
        "    if event in {'os.rename', 'os.remove', 'os.link', 'open', 'sqlite3.connect'} "
        "and 'queue.sqlite' in str(args):\n"
        "        left -= 1\n"
        "        if left < 0:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
        "sys.argv = ['beholder', 'repair', '--data-dir', sys.argv[2]]\n"
        "from beholder.cli.main import main\n"
        "main()\n"
    )
    died = 0
    for step in range(200):
        done = subprocess.run(
            [sys.executable, "-c", script, str(step), str(tmp_path)], capture_output=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        died += 1
    assert died > 5
    assert done.returncode == 0
    assert sorted(one.job_id for one in waiting(tmp_path)) == sorted(ids[100:])
