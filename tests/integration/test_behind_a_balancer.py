"""A web process as a load balancer sees it: its end, the addresses that it believes, and its neighbours."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.service import Reply, RunningService

pytestmark = pytest.mark.slow

Start = Callable[..., RunningService]

WAIT_S = 60.0
# Longer than any test: a signal ends it.
DELAY_S = 600


def await_unready(service: RunningService) -> Reply:
    until_s = time.monotonic() + WAIT_S
    while (reply := service.get("/readyz")).status == 200:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return reply


def test_a_stopped_process_serves_on_until_the_balancer_knows(start_service: Start, samples: Path) -> None:
    # given
    service = start_service(workers=1, shutdown_delay_s=DELAY_S)
    photo = (samples / "cat.jpg").read_bytes()
    kept = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=WAIT_S)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read()
    web = service.children()["web-0"]
    # when
    os.kill(service.pid, signal.SIGTERM)
    reply = await_unready(service)
    # then: new connections and old ones are served, while the balancer is told
    assert (reply.status, reply.json["status"], reply.json["problems"]) == (503, "draining", [])
    assert service.get("/healthz").status == 200
    answer = service.classify(photo)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    kept.request("GET", "/v1/models")
    assert kept.getresponse().read()
    kept.close()
    service.await_line(r"web\.draining")
    # when: a second signal ends the delay
    os.kill(web, signal.SIGTERM)
    # then
    assert service.wait() == 0
    with pytest.raises(OSError, match="refused"):
        service.get("/healthz")


def test_a_delay_ends_by_itself_and_what_was_accepted_meanwhile_is_answered(
    start_service: Start, samples: Path
) -> None:
    service = start_service(workers=1, shutdown_delay_s=0.5)
    os.kill(service.pid, signal.SIGTERM)
    service.await_line(r"web\.draining")
    # The process may end before it accepts this; once it has accepted it, it answers.
    try:
        status = service.classify((samples / "cat.jpg").read_bytes()).status
    except OSError:
        status = 0
    assert service.wait() == 0
    assert status in (0, 200, 202)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        # What the client wrote itself stands before what the balancer added.
        ("127.0.0.0/8", "198.51.100.66, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8,10.0.0.0/8", "198.51.100.66, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("10.0.0.0/8", "203.0.113.9", "127.0.0.1"),
        ("none", "203.0.113.9", "127.0.0.1"),
    ],
)
def test_a_forwarded_address_counts_from_a_trusted_proxy_only(
    start_service: Start, trusted: str, forwarded: str, client: str
) -> None:
    service = start_service(workers=0, workers_min=0, log_form="json", trusted_proxies=trusted)
    headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https", "x-request-id": "this"}
    service.request("GET", "/v1/models", headers=headers)
    line: dict[str, Any] = json.loads(service.await_line(r'.*"web\.access".*"this".*')[0])
    assert line["client"] == client


def test_a_location_is_a_path_whatever_a_client_says_of_hosts(start_service: Start, samples: Path) -> None:
    service = start_service(workers=0, workers_min=0, trusted_proxies="127.0.0.1")
    forged = {"x_forwarded_host": "evil.example", "x_forwarded_proto": "https", "prefer": "respond-async"}
    answer = service.classify((samples / "cat.jpg").read_bytes(), **forged)
    assert answer.status == 202
    assert answer.headers["location"].startswith("/v1/jobs/")
    assert "evil.example" not in answer.body.decode() + str(answer.headers)


@contextmanager
def second_web(data_dir: Path) -> Iterator[RunningService]:
    """Run a second web process on the data folder of a service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    command = [sys.executable, "-m", "beholder", "web", "--name", "web-1", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stderr is not None
        found = next(match for line in process.stderr if (match := re.search(r"url=(http\S+)", line)))
        second = RunningService(data_dir)
        second.url = found[1]
        yield second
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


def test_any_web_process_answers_for_any_job(start_service: Start, samples: Path) -> None:
    first = start_service(workers=1)
    photo = (samples / "cat.jpg").read_bytes()
    with second_web(first.data_dir) as second:
        for here, there in ((first, second), (second, first)):
            answered = here.classify(photo)
            assert (answered.status, answered.json["status"]) == (200, "succeeded")
            assert there.get(answered.json["urls"]["get"]).json == answered.json
            accepted = here.classify(photo, prefer="respond-async")
            assert accepted.status == 202
            assert await_outcome(there, accepted.headers["location"])["status"] == "succeeded"


def await_outcome(service: RunningService, path: str) -> Any:
    until_s = time.monotonic() + WAIT_S
    while (job := service.get(path).json)["status"] in ("queued", "running"):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return job
