"""`beholder redrive` beside a real service: a job that was given up succeeds once its cause is mended."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beholder.clock import SystemClock
from beholder.config import make_settings
from beholder.job import JobInput, Message, new_job_id
from beholder.queue.port import Queue
from beholder.store.port import Store
from beholder.wiring import profile_of
from helpers.images import jpeg
from helpers.service import RunningService

Start = Callable[..., RunningService]

ANSWER_S = 60.0


def redrive(data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command in its own process; returns the exit status, output and errors."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BEHOLDER_")}
    done = subprocess.run(
        [sys.executable, "-m", "beholder", "redrive", "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def opened(data_dir: Path) -> Iterator[tuple[Queue, Store]]:
    """Open the input queue and the output bucket of a data folder."""
    with profile_of(make_settings(data_dir=data_dir)).open_backends("") as backends:
        yield backends.queue, backends.results


def until_status(service: RunningService, location: str, status: str) -> None:
    end_s = time.monotonic() + ANSWER_S
    while (now := service.get(location).json["status"]) != status:
        assert time.monotonic() < end_s, f"{location} is {now} and never was {status}"
        time.sleep(0.01)


def kill_off(service: RunningService, count: int) -> None:
    """Receive every message as often as allowed, as workers do that it kills."""
    with opened(service.data_dir) as (queue, _):
        for _ in range(3):
            received = [one for _ in range(count) for one in queue.receive(count_max=1, wait_s=0)]
            assert len(received) == count
            queue.nack([one.receipt for one in received])
        assert queue.receive(count_max=1, wait_s=0) == []


def listed(data_dir: Path) -> list[dict[str, str]]:
    status, out, _ = redrive(data_dir, "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def test_jobs_that_were_given_up_succeed_once_the_cause_is_mended(start_service: Start) -> None:
    # given: three jobs, each given up because its workers died of it
    service = start_service(workers=0)
    locations = []
    for seed in range(3):
        reply = service.classify(jpeg(seed), prefer="respond-async", cancel_after="1h")
        locations.append(reply.headers["location"])
    assert redrive(service.data_dir) == (0, "no dead letters\n", "")
    kill_off(service, 3)
    for location in locations:
        until_status(service, location, "failed")
    job_ids = [location.rpartition("/")[2] for location in locations]
    # then: they are listed with their reasons, and a dry run changes nothing
    assert {one["id"]: one["code"] for one in listed(service.data_dir)} == dict.fromkeys(
        job_ids, "job_abandoned"
    )
    status, table, _ = redrive(service.data_dir)
    assert status == 0
    assert table.splitlines()[0].split() == ["given", "up", "at", "id", "file", "code", "reason"]
    assert table.splitlines()[-1] == "3 dead letters"
    status, out, _ = redrive(service.data_dir, "--all", "--dry-run")
    assert (status, out.count("would be sent back")) == (0, 3)
    assert {service.get(location).json["status"] for location in locations} == {"failed"}
    # when: one is sent back by its id, then the rest
    assert redrive(service.data_dir, job_ids[1])[:2] == (
        0,
        f"{job_ids[1]}  sent back: failed as job_abandoned\n",
    )
    assert [service.get(location).json["status"] for location in locations] == ["failed", "queued", "failed"]
    assert {one["id"] for one in listed(service.data_dir)} == {job_ids[0], job_ids[2]}
    status, out, _ = redrive(service.data_dir, "--all", "--json")
    assert (status, {json.loads(line)["action"] for line in out.splitlines()}) == (0, {"send"})
    # and the cause is mended: the workers are sound
    service.stop()
    again = start_service(data_dir=service.data_dir, workers=1)
    # then
    for location in locations:
        until_status(again, location, "succeeded")
    jobs = [again.get(location).json for location in locations]
    assert [job["metrics"]["receive_count"] for job in jobs] == [1, 1, 1]
    assert redrive(service.data_dir, "--all") == (0, "no dead letters to send back\n", "")


def test_ids_that_name_no_letter_are_reported_at_once_and_nothing_is_sent(tmp_path: Path) -> None:
    status, out, err = redrive(tmp_path / "data", "one", "../two")
    assert (status, out) == (2, "")
    assert err == (
        "beholder: no dead letter has the id 'one'; beholder redrive lists all\n"
        "beholder: no dead letter has the id '../two'; beholder redrive lists all\n"
    )


@pytest.mark.parametrize("arguments", [["--all", "one"], ["--dry-run"]])
def test_contradictory_options_are_an_exit_status_of_2(tmp_path: Path, arguments: list[str]) -> None:
    status, _, err = redrive(tmp_path / "data", *arguments)
    assert status == 2
    assert "Usage: " in err


def test_an_unreadable_body_goes_back_only_by_its_id(tmp_path: Path) -> None:
    # given
    with opened(tmp_path / "data") as (_, results):
        results.put("dead/unreadable/abc.bin", b"?")
    # then
    assert [one["id"] for one in listed(tmp_path / "data")] == ["abc"]
    assert redrive(tmp_path / "data", "--all") == (0, "no dead letters to send back\n", "")
    assert redrive(tmp_path / "data", "abc")[0] == 0
    with opened(tmp_path / "data") as (queue, _):
        assert [one.body for one in queue.receive(count_max=10, wait_s=0)] == [b"?"]


def test_a_letter_that_is_left_makes_the_exit_status_1(tmp_path: Path) -> None:
    # given: a letter whose dead-letter consumer was not done, with a name that a terminal would obey
    now_s = SystemClock().now_s()
    image = JobInput("images/j/a", "\x1b[31mcat.jpg", 1)
    message = Message(new_job_id(now_s), now_s, image)
    record = {"code": "job_abandoned", "message": message.to_bytes().decode()}
    with opened(tmp_path / "data") as (_, results):
        results.put(f"dead/{message.job_id}.json", json.dumps(record).encode())
    # then
    status, out, err = redrive(tmp_path / "data", "--all")
    assert (status, err) == (1, "1 of 1 dead letters were left\n")
    assert out.startswith(f"{message.job_id}  left: ")
    table = redrive(tmp_path / "data")[1]
    assert "?[31mcat.jpg" in table
    assert table.endswith("\n1 dead letter\n")
