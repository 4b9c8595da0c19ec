"""`beholder top`: the figures of two looks, what is drawn of them, and the looks themselves."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from beholder.cli.main import beholder
from beholder.cli.top_view import Scrape, figures_of, read_metrics, view_of
from beholder.client import ServiceUnreachable
from beholder.documents import to_document
from beholder.errors import ConfigError, Unauthorized
from beholder.job import Job, JobStatus, Metrics
from beholder.telemetry.metrics import Telemetry
from beholder.web.fleet_document import FleetDocument
from helpers.served import served
from helpers.web import memory_ports

INSTANCE = {
    "id": "i-1",
    "state": "in_service",
    "is_busy": True,
    "instance_type": "c7a.large",
    "spot": True,
    "price_per_hour": 0.04,
    "age_s": 7200.0,
}
FLEET: dict[str, Any] = to_document(FleetDocument()) | {
    "desired": 2,
    "busy": 1,
    "states": {"pending": 1, "in_service": 1, "draining": 0},
    "price_per_hour": 0.04,
    "controller": {"leader": "web-0", "decided_at_s": 0, "age_s": 3.0, "is_stale": False},
    "decision": {"reason": "two [bold]instances[/] for 9 messages"},
    "instances": [INSTANCE],
}


def scrape(telemetry: Telemetry, at_s: float = 0.0, fleet: dict[str, Any] = FLEET) -> Scrape:
    return Scrape(at_s, read_metrics(telemetry.expose().decode()), fleet)


def finish(telemetry: Telemetry, count: int, *, latency_s: float, status: JobStatus) -> None:
    times = Metrics(queue_ms=10, decode_ms=1, infer_ms=1, service_ms=2, batch_size=1, receive_count=1)
    for _ in range(count):
        telemetry.job_done(Job("a", status, 100.0, completed_at_s=100.0 + latency_s, metrics=times))


def drawn(figures: dict[str, Any], problem: str = "", *, height: int = 40, width: int = 100) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(view_of(figures, "http://a", problem, height=height, width=width))
    return captured.get()


# --- figures ------------------------------------------------------------------------------------------------


def test_rates_and_latencies_are_those_between_two_looks() -> None:
    # given
    telemetry = Telemetry()
    telemetry.watch("beholder_queue_depth", "Messages.", lambda: {"backlog": 9, "in_flight": 2}, "state")
    finish(telemetry, 50, latency_s=250.0, status=JobStatus.SUCCEEDED)
    before = scrape(telemetry)
    # when
    finish(telemetry, 18, latency_s=0.04, status=JobStatus.SUCCEEDED)
    finish(telemetry, 2, latency_s=0.9, status=JobStatus.FAILED)
    telemetry.jobs.labels("queued").inc(7)
    telemetry.requests.labels("/upload", "POST", "200").inc(40)
    figures = figures_of(before, scrape(telemetry, 4.0))
    # then
    assert (figures["images_per_s"], figures["requests_per_s"]) == (5.0, 10.0)
    # As Prometheus: within the bucket from 0.03 to 0.05, and within that from 0.5 to 1.
    assert figures["latency_s_p50"] == pytest.approx(0.03 + 0.02 * 10 / 18)
    assert figures["latency_s_p95"] == pytest.approx(0.5 + 0.5 * 1 / 2)
    assert figures["queue"] == {"backlog": 9, "in_flight": 2, "delayed": None}
    assert (figures["failed"], figures["expired"], figures["dead_letters"]) == (2, 0, 0)
    assert figures["fleet"] == {"pending": 1, "in_service": 1, "draining": 0, "busy": 1, "desired": 2}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_without_a_look_before_or_after_a_restart_no_rate_is_told(*, is_restarted: bool) -> None:
    old = Telemetry()
    finish(old, 50, latency_s=1.0, status=JobStatus.SUCCEEDED)
    before = scrape(old) if is_restarted else None
    figures = figures_of(before, scrape(Telemetry(), 2.0))
    assert [figures[name] for name in ("images_per_s", "requests_per_s", "latency_s_p50")] == [None] * 3
    assert re.search("^images +-, requests - *$", drawn(figures), re.MULTILINE)


def test_a_quiet_time_has_rates_of_none_and_no_latency() -> None:
    telemetry = Telemetry()
    figures = figures_of(scrape(telemetry), scrape(telemetry, 2.0))
    assert (figures["images_per_s"], figures["latency_s_p95"]) == (0.0, None)


def test_a_latency_beyond_the_last_bucket_is_that_bucket_s() -> None:
    telemetry = Telemetry()
    before = scrape(telemetry)
    finish(telemetry, 1, latency_s=4000.0, status=JobStatus.SUCCEEDED)
    assert figures_of(before, scrape(telemetry, 1.0))["latency_s_p50"] == 300.0


# --- drawing ------------------------------------------------------------------------------------------------


def test_what_is_drawn_has_fleet_queue_decision_and_instances() -> None:
    text = drawn(figures_of(None, scrape(Telemetry())))
    for part in (
        "in service 1 (busy 1), pending 1, draining 0, desired 2, $0.040 an hour",
        "3 s ago: two [bold]instances[/] for 9 messages",
        "backlog -, in flight -, delayed -",
        "i-1  in service  yes   c7a.large spot  2.0 h  0.0400",
    ):
        assert part in text


def test_a_service_without_a_controller_is_drawn() -> None:
    figures = figures_of(None, scrape(Telemetry(), fleet=to_document(FleetDocument())))
    assert "no controller has decided yet" in drawn(figures)


def test_a_large_fleet_is_cut_to_the_terminal_and_the_rest_counted() -> None:
    many = FLEET | {"instances": [INSTANCE | {"id": f"i-{number}"} for number in range(100)]}
    text = drawn(figures_of(None, scrape(Telemetry(), fleet=many)), height=24)
    assert "and 86 more" in text
    assert len(text.splitlines()) <= 24 + 1


@pytest.mark.parametrize("width", [30, 49, 60, 79, 80, 200])
def test_a_terminal_of_any_width_shows_each_instance_in_a_line_and_no_more_lines_than_it_has(
    width: int,
) -> None:
    many = [INSTANCE | {"id": f"i-0123456789abcde{number:02}"} for number in range(100)]
    text = drawn(figures_of(None, scrape(Telemetry(), fleet=FLEET | {"instances": many})), width=width)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= width
    shown = [line for line in lines if line.startswith("i-0123456789")]
    assert len(shown) + int(re.search(r"and (\d+) more", text)[1]) == 100  # type: ignore[index]
    assert len(shown) >= 40 - 30
    if width >= 49:
        assert all(many[place]["id"] in line for place, line in enumerate(shown))
    assert ("$ an hour\n" in re.sub(" +\n", "\n", text)) == (width >= 80)


def test_a_problem_is_drawn_with_the_last_figures() -> None:
    assert "no answer" in drawn(figures_of(None, scrape(Telemetry())), "no answer")


# --- looking ------------------------------------------------------------------------------------------------


class Scripted(ThreadingHTTPServer):
    """Answers both paths; `on_look` returns the status, from the number of the look."""

    on_look: Callable[[int], int] = staticmethod(lambda _: 200)
    looks = 0


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        status = 200
        if self.path == "/metrics":
            self.server.looks += 1
            status = self.server.on_look(self.server.looks)
        body = Telemetry().expose() if self.path == "/metrics" else json.dumps(FLEET).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(url: str, *options: str, **environment: str) -> Result:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return CliRunner().invoke(
            beholder, ["top", "--url", url, "--every", "0.5", *options], env=environment
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """Do what Ctrl-C does."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def test_a_program_gets_the_figures_of_a_real_web_tier() -> None:
    with served(memory_ports()) as url:
        result = run(url, "--json")
    assert result.exit_code == 0, result.exception
    figures = json.loads(result.output)
    assert figures["queue"] == {"backlog": 0, "in_flight": 0, "delayed": 0}
    assert figures["requests_per_s"] > 0
    assert figures["instances"] == []


def test_without_a_terminal_it_is_printed_once(scripted: Scripted) -> None:
    result = run(f"http://127.0.0.1:{scripted.server_port}")
    assert result.exit_code == 0, result.exception
    assert (scripted.looks, result.output.count("c7a.large spot")) == (2, 1)


def test_on_a_terminal_it_goes_on_through_an_error_until_it_is_stopped(scripted: Scripted) -> None:
    # given
    def on_look(number: int) -> int:
        if number == 3:
            interrupt()
        return 503 if number == 2 else 200

    scripted.on_look = on_look  # type: ignore[method-assign]
    # when
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    result = run(f"http://127.0.0.1:{scripted.server_port}", **terminal)
    # then
    assert result.exit_code == 0, result.exception
    assert scripted.looks == 3
    assert result.output.count("c7a.large spot") == 2
    assert "HTTP 503" in result.output


def test_what_hinders_the_first_look_ends_it(scripted: Scripted) -> None:
    url = f"http://127.0.0.1:{scripted.server_port}"
    scripted.on_look = lambda _: 401  # type: ignore[method-assign]
    assert isinstance(run(url).exception, Unauthorized)
    assert isinstance(run("http://127.0.0.1:1").exception, ServiceUnreachable)
    assert isinstance(run("ftp://a").exception, ConfigError)


def test_ctrl_c_ends_it_while_a_service_that_hangs_is_asked(scripted: Scripted) -> None:
    # given
    is_over = threading.Event()

    def on_look(_: int) -> int:
        interrupt()
        is_over.wait(60)
        return 200

    scripted.on_look = on_look  # type: ignore[method-assign]
    # when
    result = run(f"http://127.0.0.1:{scripted.server_port}")
    is_over.set()
    # then
    assert (result.exit_code, result.output) == (0, "")
