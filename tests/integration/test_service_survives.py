"""What happens to accepted images when processes die, disks fill up and crowds come."""

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from beholder.job import Message
from beholder.worker.journal import InFlightJournal
from helpers.images import jpeg, slow_png
from helpers.service import Reply, RunningService
from helpers.tiny_disk import tiny_disk

Start = Callable[..., RunningService]

ANSWER_S = 60.0


@pytest.fixture
def start_service(start_service: Start, tiny_model: Path) -> Start:
    """Start services whose model is a tiny one: what a model says does not matter here."""
    return partial(start_service, model=tiny_model)


def until(reached: Callable[[], bool], what: str, timeout_s: float = ANSWER_S) -> None:
    """Wait for something that only another process knows."""
    end_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < end_s, f"never happened: {what}"
        time.sleep(0.01)


def outcome(service: RunningService, location: str) -> Reply:
    replies: list[Reply] = []

    def is_done() -> bool:
        replies.append(service.get(location))
        return replies[-1].status == 200 and replies[-1].json["status"] not in ("queued", "running")

    until(is_done, f"an outcome of {location}")
    return replies[-1]


def send_async(service: RunningService, count: int, first: int = 0) -> list[str]:
    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(
                lambda seed: service.classify(jpeg(seed), prefer="respond-async"), range(first, first + count)
            )
        )
    assert [reply.status for reply in replies] == [202] * count
    return [reply.headers["location"] for reply in replies]


def decoding(service: RunningService, worker: str, location: str) -> bool:
    """Say whether the worker's in-flight journal tells that this job's image is being decoded."""
    journal = InFlightJournal(service.data_dir / "processes" / f"{worker}.journal")
    current = journal.left_behind().current
    journal.close()
    return current is not None and Message.from_bytes(current.body).job_id == location.rpartition("/")[2]


def killed_while(is_so: Callable[[], bool], pid: int) -> bool:
    """Kill a process if something is so at that moment; it stands still while that is looked up."""
    os.kill(pid, signal.SIGSTOP)
    until(
        lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stands still"
    )
    found = is_so()
    os.kill(pid, signal.SIGKILL if found else signal.SIGCONT)
    return found


@contextmanager
def extra_workers(service: RunningService, count: int, model: Path) -> Iterator[None]:
    """Run workers of the test's own on the service's data folder."""
    command = [sys.executable, "-m", "beholder", "worker", "--data-dir", str(service.data_dir), "--name"]
    environment = os.environ | {"BEHOLDER_MODEL": str(model)}
    workers = [subprocess.Popen([*command, f"extra-{number}"], env=environment) for number in range(count)]
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        assert [worker.wait(30) for worker in workers] == [0] * count


@pytest.mark.parametrize("victim", ["worker-0", "web-0"])
def test_a_killed_process_comes_back_and_nothing_is_lost(start_service: Start, victim: str) -> None:
    service = start_service()
    locations = send_async(service, 40)
    os.kill(service.children()[victim], signal.SIGKILL)
    service.await_line(f"supervisor.restart.* child={victim}.*status=SIGKILL")
    until(lambda: victim in service.children(), "a restart")
    until(lambda: _is_up(service), "an answer")
    assert [outcome(service, location).json["status"] for location in locations] == ["succeeded"] * 40


def test_accepted_jobs_survive_the_death_of_everything(start_service: Start) -> None:
    service = start_service(workers=1)
    locations = send_async(service, 60)
    children = service.children()
    service.stop(signal.SIGKILL)
    until(lambda: not any(_is_alive(pid) for pid in children.values()), "the children to follow their parent")
    again = start_service(data_dir=service.data_dir)
    assert [outcome(again, location).json["status"] for location in locations] == ["succeeded"] * 60


def test_a_stop_answers_those_who_wait_and_keeps_the_rest(start_service: Start) -> None:
    # A model that takes its time: the tiny one may have answered before all four wait.
    service = start_service(workers=1, model="efficientnet-lite0")
    locations = send_async(service, 30)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(service.classify, jpeg(1000 + seed)) for seed in range(4)]
        until(lambda: b"beholder_waiting_requests 4.0" in service.get("/metrics").body, "four waiters")
        status = service.stop()
        assert status == 0
        assert [one.result().status for one in waiting] == [200] * 4
    again = start_service(data_dir=service.data_dir)
    assert [outcome(again, location).json["status"] for location in locations] == ["succeeded"] * 30


@pytest.mark.slow
def test_a_poison_image_ends_as_a_failed_job_and_harms_no_other(start_service: Start) -> None:
    service = start_service(workers=1)
    poison = service.classify(slow_png(), prefer="respond-async").headers["location"]
    until(lambda: decoding(service, "worker-0", poison), "the poison image in hand")
    neighbours = send_async(service, 8)
    deaths = 0
    seen = set()
    while (status := service.get(poison).json["status"]) in ("queued", "running"):
        seen.add(status)
        # The note of a dead worker stays until its successor has read it.
        service.await_line("worker-0 worker.ready", count=deaths + 1)
        if killed_while(lambda: decoding(service, "worker-0", poison), service.children()["worker-0"]):
            deaths += 1
            service.await_line("supervisor.restart.* child=worker-0", count=deaths)
    job = service.get(poison).json
    assert deaths >= 3
    assert "running" in seen
    assert (job["status"], job["error"]["code"]) == ("failed", "job_abandoned")
    assert (service.data_dir / "buckets" / "beholder-input-bucket" / job["input"]["image_key"]).exists()
    finished = [outcome(service, location).json for location in neighbours]
    assert [one["status"] for one in finished] == ["succeeded"] * 8
    assert {one["metrics"]["receive_count"] for one in finished} == {1}


def test_a_full_disk_is_an_error_at_accept_time(start_service: Start, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", size_mb=4) as disk:
        service = start_service(data_dir=disk, workers=1)
        filler = disk / "filler"
        _fill(filler)
        images = disk / "buckets" / "beholder-input-bucket" / "images"
        before = _files(images)
        refused = service.classify(jpeg(1, side=2048), prefer="respond-async")
        assert (refused.status, refused.json["code"]) == (503, "storage_full")
        assert int(refused.headers["retry-after"]) > 0
        assert _files(images) == before
        filler.unlink()
        accepted = service.classify(jpeg(1))
        assert accepted.status == 200
        service.stop()


def test_beyond_the_backlog_new_jobs_are_refused_and_old_ones_kept(start_service: Start) -> None:
    service = start_service(workers=0, backlog_max=5)
    replies = [service.classify(jpeg(seed), prefer="respond-async") for seed in range(6)]
    # Three quarters of five are for those who do not wait.
    assert [reply.status for reply in replies] == [202] * 4 + [503] * 2

    # A backlog that is looked at while jobs are on their way counts some of them twice, for a moment.
    def is_taken() -> bool:
        replies[4] = service.classify(jpeg(6), prefer="wait=1")
        return replies[4].status == 202

    until(is_taken, "one that waits is taken where those that do not are refused")
    replies += [service.classify(jpeg(7), prefer=f"wait={seconds}") for seconds in (0, 1)]
    assert [reply.status for reply in replies] == [202] * 5 + [503] * 3
    assert replies[-1].json["code"] == "overloaded"
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
    locations = [reply.headers["location"] for reply in replies[:5]]
    assert [service.get(location).json["status"] for location in locations] == ["queued"] * 5
    service.stop()
    again = start_service(data_dir=service.data_dir, workers=1)
    assert [outcome(again, location).json["status"] for location in locations] == ["succeeded"] * 5


def test_who_waits_too_long_gets_the_job_to_ask_for(start_service: Start) -> None:
    service = start_service(workers=0)
    reply = service.classify(jpeg(1), prefer="wait=1")
    assert reply.status == 202
    assert reply.headers["preference-applied"] == "wait=1"
    assert service.get(reply.headers["location"]).json["status"] == "queued"


def test_an_expired_job_is_not_worked_on(start_service: Start) -> None:
    service = start_service(workers=0)
    reply = service.classify(jpeg(1), prefer="wait=2", cancel_after="1s")
    service.stop()
    again = start_service(data_dir=service.data_dir, workers=1)
    job = outcome(again, reply.headers["location"]).json
    assert (job["status"], job["error"]["code"]) == ("expired", "job_expired")


def test_a_lost_reply_costs_a_look_into_the_bucket(start_service: Start) -> None:
    """The replies of a job that another service answers never arrive; the result is found all the same."""
    service = start_service(workers=0, prefix="one")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(service.classify, jpeg(1))
        results = service.data_dir / "buckets" / "one-output-bucket" / "results"
        images = service.data_dir / "buckets" / "one-input-bucket" / "images"
        until(lambda: images.exists() and any(images.iterdir()), "the image stored")
        job_id = next(images.iterdir()).name
        document = service.get(f"/v1/jobs/{job_id}").json | {"status": "succeeded", "result": {"labels": []}}
        results.mkdir(parents=True, exist_ok=True)
        staged = results / f".{job_id}"
        staged.write_text(json.dumps(document))
        staged.rename(results / f"{job_id}.json")
        assert waiting.result(ANSWER_S).json["id"] == job_id


@pytest.mark.slow
def test_two_thousand_clients_wait_at_once_and_each_is_answered(
    start_service: Start, tiny_model: Path
) -> None:
    # However slow the machine is, no wait ends before the workers come.
    service = start_service(workers=0, wait_s_default=600, wait_s_max=600)

    async def crowd() -> list[tuple[int, str]]:
        connector, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=patient) as session:

            async def one(seed: int) -> tuple[int, str]:
                async with session.post(f"{service.url}/v1/classify", data=jpeg(seed % 10)) as response:
                    return response.status, (await response.json())["id"]

            clients = [asyncio.create_task(one(seed)) for seed in range(2000)]
            waiting = 0.0
            while waiting < 2000:
                async with session.get(f"{service.url}/metrics") as response:
                    metrics = await response.text()
                waiting = float(metrics.partition("\nbeholder_waiting_requests ")[2].split()[0])
                assert [client for client in clients if client.done()] == []
                await asyncio.sleep(0.2)  # the cores are the service's
            with extra_workers(service, 2, tiny_model):
                return await asyncio.gather(*clients)

    replies = asyncio.run(crowd())
    assert {status for status, _ in replies} == {200}
    assert len({job_id for _, job_id in replies}) == 2000


def test_a_second_service_on_one_data_folder_is_refused(start_service: Start) -> None:
    service = start_service(workers=0)
    with pytest.raises(AssertionError, match="is in use by another beholder"):
        start_service(data_dir=service.data_dir, workers=0)


def test_who_still_waits_when_the_service_must_end_is_told_where_to_ask(start_service: Start) -> None:
    service = start_service(workers=0, drain_s=10)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(service.classify, jpeg(seed)) for seed in range(3)]
        until(lambda: b"beholder_waiting_requests 3.0" in service.get("/metrics").body, "three waiters")
        os.kill(service.pid, signal.SIGTERM)
        service.await_line("up.stopping")
        # who comes now is refused, and does not hang until the end
        until(lambda: _is_refused(service), "a refusal", timeout_s=8)
        assert not any(one.done() for one in waiting)
        replies = [one.result() for one in waiting]
    assert service.wait() == 0
    assert [reply.status for reply in replies] == [202] * 3
    again = start_service(data_dir=service.data_dir, workers=1)
    locations = [reply.headers["location"] for reply in replies]
    assert [outcome(again, location).json["status"] for location in locations] == ["succeeded"] * 3


def test_sockets_that_announce_and_send_nothing_keep_nobody_out(start_service: Start) -> None:
    service = start_service(workers=1)
    host, port = service.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(30):
            idle = stack.enter_context(socket.create_connection((host, int(port))))
            idle.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n")
        assert service.classify(jpeg(1)).status == 200


def test_a_head_without_end_is_refused(start_service: Start) -> None:
    service = start_service(workers=0)
    assert any("up.no_workers: warning: workers is 0" in line for line in service.lines)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as hostile:
        hostile.sendall(b"GET / HTTP/1.1\r\nx-long: " + b"a" * 200_000)
        assert hostile.recv(100).startswith(b"HTTP/1.1 431 ")
    # a head of ordinary length in front of a large body is none of that
    assert service.classify(bytes(300_000)).json["code"] == "image_type_unsupported"
    assert service.get("/healthz", **{"x-long": "a" * 30_000}).status == 200


def test_two_processes_of_one_name_are_refused(start_service: Start) -> None:
    service = start_service(workers=1)
    for command in ("worker", "web"):
        done = subprocess.run(
            [sys.executable, "-m", "beholder", command, "--data-dir", str(service.data_dir)],
            capture_output=True,
            check=False,
            timeout=60,
            env=os.environ | {"BEHOLDER_PORT": "0"},
        )
        assert done.returncode == 1
        assert b"give another name with --name" in done.stderr


@pytest.mark.slow
def test_what_was_accepted_waits_while_the_disk_is_full(start_service: Start, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", size_mb=4) as disk:
        service = start_service(data_dir=disk, workers=0)
        locations = send_async(service, 4)
        service.stop()
        filler = disk / "filler"
        _fill(filler)
        full = start_service(data_dir=disk, workers=1)
        full.await_line("worker.retry")
        assert {full.get(location).json["status"] for location in locations} <= {"queued", "running"}
        filler.unlink()
        assert [outcome(full, location).json["status"] for location in locations] == ["succeeded"] * 4
        full.stop()


@pytest.mark.slow
def test_random_kills_for_a_minute_lose_no_accepted_job(start_service: Start) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    service = start_service(workers_min=2)  # both are there to be killed
    locations: list[str] = []
    kills = dict.fromkeys(("up", "web-0", "worker-0", "worker-1"), 0)
    end_s = time.monotonic() + 60
    with ThreadPoolExecutor(4) as threads:
        while time.monotonic() < end_s:
            batch = [
                threads.submit(_send_patiently, service, n)
                for n in range(len(locations), len(locations) + 20)
            ]
            victim, pid = dice.choice([*service.children().items(), ("up", service.pid)])
            _kill(pid)
            kills[victim] += 1
            locations += [location for one in batch for location in one.result()]
            if victim == "up":
                service.stop()
                service = start_service(data_dir=service.data_dir, workers_min=2)
            else:
                until(partial(_is_up, service), "an answer")
    print(f"{len(locations)} jobs accepted; killed: {kills}")
    assert all(kills.values()), "every process was killed at least once"
    assert len(locations) > 100
    jobs = [outcome(service, location).json for location in locations]
    assert not [job for job in jobs if job["status"] != "succeeded"]


def _send_patiently(service: RunningService, seed: int) -> list[str]:
    """Send one image; an exchange that breaks off promises nothing, so it is left out."""
    try:
        reply = service.classify(jpeg(seed), prefer="respond-async")
    except (OSError, http.client.HTTPException):
        return []
    return [reply.headers["location"]] if reply.status == 202 else []


def _is_refused(service: RunningService) -> bool:
    try:
        service.request("GET", "/healthz", timeout_s=2)
    except OSError as exc:
        return "refused" in str(exc)
    return False


def _is_up(service: RunningService) -> bool:
    try:
        return service.get("/readyz").status == 200
    except (OSError, http.client.HTTPException):
        return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for block in (65_536, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(block))
