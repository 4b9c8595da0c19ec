"""What lies under a running service is deleted or replaced: it says so, and takes nothing in."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.images import jpeg
from helpers.service import RunningService


def until(reached: Callable[[], bool]) -> None:
    """Wait until something holds; the bound is for a test that hangs, beside whatever else runs."""
    end_s = time.monotonic() + 120.0
    while not reached():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def data_folder(data_dir: Path) -> None:
    data_dir.rename(data_dir.with_name("gone"))


def data_folder_replaced(data_dir: Path) -> None:
    # Copied before it goes: a controller that opens the buckets late would make folders beside the copy's.
    copy = data_dir.with_name("copy")
    shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("*.notifiers", "*.replies"))
    data_dir.rename(data_dir.with_name("before"))
    copy.rename(data_dir)


def data_folder_empty(data_dir: Path) -> None:
    data_dir.rename(data_dir.with_name("before"))
    data_dir.mkdir()


def queue_file(data_dir: Path) -> None:
    (data_dir / "queue.sqlite").unlink()


def queue_log(data_dir: Path) -> None:
    (data_dir / "queue.sqlite-wal").unlink()


def input_bucket(data_dir: Path) -> None:
    (data_dir / "buckets" / "beholder-input-bucket").rename(data_dir / "gone")


def output_bucket(data_dir: Path) -> None:
    (data_dir / "buckets" / "beholder-output-bucket").rename(data_dir / "gone")


def both_buckets(data_dir: Path) -> None:
    (data_dir / "buckets").rename(data_dir / "gone")


def buckets_replaced_by_a_file(data_dir: Path) -> None:
    both_buckets(data_dir)
    (data_dir / "buckets").touch()


LOSSES = [
    data_folder,
    data_folder_replaced,
    data_folder_empty,
    queue_file,
    queue_log,
    input_bucket,
    output_bucket,
    both_buckets,
    buckets_replaced_by_a_file,
]


@pytest.mark.slow
@pytest.mark.parametrize("lose", LOSSES, ids=lambda one: one.__name__)
def test_a_folder_or_file_that_is_lost_is_seen(
    tmp_path: Path, tiny_model: Path, lose: Callable[[Path], None]
) -> None:
    # With a tiny model the service is ready before its controller has opened anything.
    with RunningService(tmp_path / "data", workers=1, model=tiny_model) as service:
        assert service.get("/readyz").status == 200
        lose(service.data_dir)
        until(lambda: service.get("/readyz").status == 503)
        if lose is not output_bucket:  # the image and its message are safe then, and its outcome waits
            assert service.classify(jpeg(1), prefer="wait=1").status == 503
        assert service.get("/healthz").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("lose", [input_bucket, output_bucket, both_buckets], ids=lambda one: one.__name__)
def test_a_worker_that_starts_after_a_bucket_was_lost_waits_for_it_and_makes_none(
    tmp_path: Path, tiny_model: Path, lose: Callable[[Path], None]
) -> None:
    # given
    with RunningService(tmp_path / "data", workers=1, model=tiny_model) as service:
        buckets = service.data_dir / "buckets"
        before = sorted(buckets.glob("*"))
        lose(service.data_dir)
        left = sorted(buckets.glob("*"))

        # when: the worker crashes
        os.kill(service.children()["worker-0"], signal.SIGKILL)
        service.await_line(r"worker-0 start\.retry.*the folder is missing; put it back")

        # then
        assert sorted(buckets.glob("*")) == left
        until(lambda: service.get("/readyz").status == 503)

        # when: the bucket is put back
        (lost,) = set(before) - set(left) if left else {buckets}
        (service.data_dir / "gone").rename(lost)

        # then
        until(lambda: service.get("/readyz").status == 200)
        assert service.classify(jpeg(1)).status == 200
