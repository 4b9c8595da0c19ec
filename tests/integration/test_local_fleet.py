"""The fleet of one machine on real processes: it follows the demand, and says why."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.images import jpeg
from helpers.service import RunningService

Start = Callable[..., RunningService]

WAIT_S = 60.0
CLIENTS = 16


def until(reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for something that only another process knows."""
    end_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < end_s, f"never happened: {what}"
        time.sleep(0.02)


def workers(service: RunningService) -> set[str]:
    return {name for name in service.children() if name.startswith("worker-")}


def records(service: RunningService) -> list[dict[str, Any]]:
    """Return the 'why' log, oldest first, as `beholder explain --json` tells it."""
    done = subprocess.run(
        [sys.executable, "-m", "beholder", "explain", "--json", "--data-dir", str(service.data_dir)],
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    return sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda one: one["at_s"])


@contextmanager
def load(service: RunningService, clients: int = CLIENTS) -> Iterator[list[tuple[int, str | None]]]:
    """Keep so many clients sending, one image after another; yields (image, label) as they are answered."""
    answers: list[tuple[int, str | None]] = []
    stop = threading.Event()

    def send(client: int) -> None:
        number = client
        while not stop.is_set():
            reply = service.classify(IMAGES[number % len(IMAGES)])
            label = reply.json["result"]["labels"][0]["name"] if reply.status == 200 else None
            answers.append((number % len(IMAGES), label))
            number += clients

    with ThreadPoolExecutor(clients) as threads:
        sending = [threads.submit(send, client) for client in range(clients)]
        try:
            yield answers
        finally:
            stop.set()
        for one in sending:
            one.result(WAIT_S)


IMAGES = [jpeg(seed) for seed in range(10)]


def are_right(service: RunningService, answers: list[tuple[int, str | None]]) -> bool:
    """Say whether every answer is the label that the image has when it is sent alone."""
    labels = [service.classify(image).json["result"]["labels"][0]["name"] for image in IMAGES]
    return bool(answers) and all(label == labels[number] for number, label in answers)


@pytest.mark.slow
def test_a_step_of_twice_a_worker_s_rate_scales_from_none_to_two_and_back_and_the_record_says_why(
    start_service: Start,
) -> None:
    # given: nobody has come for a while; for some seconds after a load the policy expects more
    service = start_service(workers=2, idle_s_max=8)
    until(lambda: not workers(service), "an empty fleet")
    # when: more clients than one worker can serve send all the time
    with load(service) as answers:
        until(lambda: workers(service) == {"worker-0", "worker-1"}, "two workers")
        service.await_line("worker-1 worker.ready")
        so_far = len(answers)
        until(lambda: len(answers) > so_far + 200, "answers of two workers")
    # then: nothing is lost, and the fleet is empty again
    assert are_right(service, answers)
    until(lambda: not workers(service), "an empty fleet")
    until(lambda: service.get("/v1/fleet").json["alive"] == 0, "the controller to see it")
    assert not any("supervisor.restart" in line for line in service.lines)
    # and: the record tells each step
    service.stop()
    told = records(service)
    out = [one for one in told if one["launched"]]
    assert out[0]["decision"]["alive"] == 0
    assert {name for one in out for name in one["launched"]} == {"worker-0", "worker-1"}
    assert all("needed to keep the goal" in one["decision"]["reason"] for one in out)
    alive = [one["decision"]["alive"] for one in told if one["at_s"] > out[0]["at_s"]]
    assert 2 in alive
    assert 0 in alive[alive.index(2) :]
    assert told[-1]["decision"]["alive"] == 0
    assert "no message waits" in told[-1]["decision"]["reason"]
    assert sum("drain.done" in line for line in service.lines) >= 3


@pytest.mark.slow
def test_beholder_load_at_twice_a_worker_s_rate_is_answered_whole_and_the_fleet_follows(
    start_service: Start, tmp_path: Path
) -> None:
    # given: what one worker takes for an image, and an empty fleet
    service = start_service(workers=2, idle_s_max=6)
    service.classify(IMAGES[0])
    took_ms = [service.classify(image).json["metrics"]["service_ms"] for image in IMAGES]
    rate = 2 * 1000 / sorted(took_ms)[len(took_ms) // 2]
    for number, image in enumerate(IMAGES):
        (tmp_path / f"{number}.jpg").write_bytes(image)
    until(lambda: not workers(service), "an empty fleet")
    # when
    line = ["load", "--num_request", "400", "--rate", f"{rate:.1f}", "--url", f"{service.url}/upload"]
    done = subprocess.run(
        [sys.executable, "-m", "beholder", *line, "--image_folder", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    # then
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 400
    until(lambda: not workers(service), "an empty fleet")
    service.stop()
    told = records(service)
    launched = [name for one in told if one["launched"] for name in one["launched"]]
    assert set(launched) == {"worker-0", "worker-1"}
    assert max(one["decision"]["alive"] for one in told) == 2
    assert told[-1]["decision"]["alive"] == 0


def test_an_image_leaves_zero_at_once(start_service: Start) -> None:
    service = start_service(workers=1, idle_s_max=1)
    until(lambda: not workers(service), "an empty fleet")
    assert service.classify(jpeg(1)).status == 200
    fleet = service.get("/v1/fleet").json
    assert fleet["alive"] == 1


@pytest.mark.slow
def test_a_worker_that_is_killed_while_the_fleet_is_large_comes_back_and_nothing_is_lost(
    start_service: Start,
) -> None:
    # given
    service = start_service(workers=2, idle_s_max=5)
    with load(service) as answers:
        service.await_line("worker-1 worker.ready")
        # when
        for victim in ("worker-1", "worker-0"):
            before = service.children()[victim]
            os.kill(before, signal.SIGKILL)
            service.await_line(f"supervisor.restart.* child={victim}.*SIGKILL")
            until(lambda pid=before, name=victim: service.children().get(name, pid) != pid, "a successor")
        so_far = len(answers)
        until(lambda: len(answers) > so_far + 100, "answers after the kills")
    # then
    assert are_right(service, answers)


@pytest.mark.slow
def test_images_that_come_while_workers_leave_are_all_answered(start_service: Start) -> None:
    """The idle time is so short that workers leave between images; each is answered all the same."""
    # given
    service = start_service(workers=2, idle_s_max=0.5)
    pauses_s = [0.0, 0.3, 0.7, 1.0, 1.3, 1.6, 1.9, 2.2, 2.6, 3.0, 0.9, 1.1]
    # when: they come at all distances from the moment of leaving
    answers = []
    for number, pause_s in enumerate(pauses_s * 2):
        time.sleep(pause_s)
        reply = service.classify(IMAGES[number % len(IMAGES)])
        answers.append((number % len(IMAGES), reply.json["result"]["labels"][0]["name"]))
    # then
    assert sum("supervisor.left" in line for line in service.lines) >= 3
    assert are_right(service, answers)


def test_a_minimum_stays_and_comes_back(start_service: Start) -> None:
    service = start_service(workers=2, workers_min=1, idle_s_max=1)
    assert workers(service) == {"worker-0"}
    # what the rule says of the oldest, a second later too
    fleet = service.get("/v1/fleet")
    until(lambda: service.get("/v1/fleet").json["desired"] == 1, f"one desired, not {fleet.body!r}")
    os.kill(service.children()["worker-0"], signal.SIGTERM)
    service.await_line("supervisor.left.* child=worker-0")
    service.await_line(r"worker-\d worker.ready", count=2)  # of another name while the first still ends


def test_the_why_log_is_in_the_output_bucket(start_service: Start) -> None:
    service = start_service(workers=1, idle_s_max=1)
    until(lambda: not workers(service), "an empty fleet")
    folder = Path(service.data_dir / "buckets" / "beholder-output-bucket" / "why")
    until(lambda: any(folder.rglob("*.jsonl")), "a record")
