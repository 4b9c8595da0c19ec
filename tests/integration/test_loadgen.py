"""The workload generator against real servers on this machine."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from beholder.cli import main
from beholder.loadgen.answer import Answer
from beholder.loadgen.engine import run_load
from beholder.loadgen.plan import Arrival, LoadPlan, images_in
from beholder.loadgen.report import LoadReport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
WAIT_S = 10.0
# `beholder.cli.main` is the function; the module of that name holds the group.
GROUP: click.Group = sys.modules[main.__module__].beholder


@contextlib.contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Run a server with one handler for every path, in a thread and loop of its own."""
    address: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)
        loop.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(10):
        (images / f"test_{index}.JPEG").write_bytes(b"\xff\xd8" + bytes([index]) * (1000 + index))
    return images


def run(url: str, folder: Path, **choices: Any) -> LoadReport:
    seen: list[Answer] = []
    report = run_load(LoadPlan(url, images_in(folder), **choices), seen.append)
    assert tuple(seen) == report.answers
    return report


async def label_it(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(text="tench")


def job(status: str, job_id: str = "j1", **changes: Any) -> dict[str, Any]:
    labels = [
        {"name": "tench", "index": 0, "confidence": 0.9},
        {"name": "cock", "index": 7, "confidence": 0.1},
    ]
    result = {"labels": labels} if status == "succeeded" else None
    return {"id": job_id, "status": status, "result": result, "error": None} | changes


def test_an_upload_is_the_form_that_the_classic_clients_send(folder: Path) -> None:
    # given a server that reads forms
    seen: dict[str, bytes] = {}

    async def keep(request: web.Request) -> web.Response:
        form = await request.post()
        assert list(form) == ["myfile"]
        file = form["myfile"]
        assert isinstance(file, web.FileField)
        seen[file.filename] = file.file.read()
        return web.Response(text=f"label of {file.filename}")

    # when every image is sent
    with serving(keep) as url:
        report = run(f"{url}/upload", folder)

    # then each arrived as it is, and each got its own answer
    assert report.is_clean
    assert seen == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {answer.response.label for answer in report.answers} == {f"label of {name}" for name in seen}
    assert (report.answered, report.unique_files, report.duplicates) == (10, 10, 0)


def test_the_bytes_of_an_upload_are_those_of_the_requests_library(folder: Path) -> None:
    seen: dict[bytes, str] = {}

    async def keep(request: web.Request) -> web.Response:
        seen[await request.read()] = request.headers["Content-Type"]
        return web.Response(text="tench")

    with serving(keep) as url:
        run(f"{url}/upload", folder, request_count=1)

    ((body, content_type),) = seen.items()
    kind, boundary = content_type.split("; boundary=")
    image = (folder / "test_0.JPEG").read_bytes()
    disposition = 'Content-Disposition: form-data; name="myfile"; filename="test_0.JPEG"'
    assert kind == "multipart/form-data"
    assert body == b"\r\n".join(
        (f"--{boundary}".encode(), disposition.encode(), b"", image, f"--{boundary}--".encode(), b"")
    )


def test_v1_takes_the_raw_bytes_and_answers_with_a_job(folder: Path) -> None:
    bodies: set[bytes] = set()

    async def classify(request: web.Request) -> web.Response:
        bodies.add(await request.read())
        assert request.content_type == "image/jpeg"
        return web.json_response(job("succeeded", f"j{len(bodies)}"))

    with serving(classify) as url:
        report = run(f"{url}/v1/classify", folder)

    assert bodies == {path.read_bytes() for path in folder.iterdir()}
    assert report.answers[0].response.indices == (0, 7)
    assert report.answers[0].response.confidence == 0.9
    assert (report.unique_jobs, report.duplicate_jobs) == (10, 0)


def test_an_image_of_several_megabytes_arrives_whole(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(bytes(range(256)) * 12_000)

    async def measure(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    with serving(measure) as url:
        report = run(f"{url}/v1/classify", tmp_path)
    assert report.answers[0].response.label == str(256 * 12_000)


def test_a_closed_loop_keeps_its_concurrency_and_its_connections(folder: Path) -> None:
    # given a server that answers nobody until four requests are there
    peers: set[Any] = set()
    in_flight: list[int] = [0]
    all_there: list[asyncio.Event] = []
    in_flight_max = 0

    async def hold(request: web.Request) -> web.Response:
        nonlocal in_flight_max
        if not all_there:
            all_there.append(asyncio.Event())
        peers.add(request.get_extra_info("peername"))
        in_flight[0] += 1
        in_flight_max = max(in_flight_max, in_flight[0])
        if in_flight[0] == 4:
            all_there[0].set()
        await all_there[0].wait()
        await request.read()
        in_flight[0] -= 1
        return web.Response(text="tench")

    # when four clients send forty requests
    with serving(hold) as url:
        report = run(f"{url}/upload", folder, request_count=40, concurrency=4)

    # then there were four at once, never more, each on a connection that it kept
    assert report.answered == 40
    assert in_flight_max == 4
    assert len(peers) == 4


def test_a_503_is_an_error_and_is_not_sent_again(folder: Path) -> None:
    requests = 0

    async def refuse(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        await request.read()
        return web.Response(status=503, headers={"Retry-After": "0"}, text="busy")

    with serving(refuse) as url:
        report = run(f"{url}/upload", folder)
    assert requests == 10
    assert (report.answered, report.errors, report.statuses) == (0, {"overloaded": 10}, {503: 10})


def test_a_503_is_sent_again_when_asked_to_and_counted(folder: Path) -> None:
    refused: set[bytes] = set()

    async def refuse_once(request: web.Request) -> web.Response:
        body = await request.read()
        if body in refused:
            return web.json_response(job("succeeded"))
        refused.add(body)
        return web.Response(status=503, headers={"Retry-After": "0"})

    with serving(refuse_once) as url:
        report = run(f"{url}/v1/classify", folder, is_503_retried=True)
    assert report.is_clean
    assert report.retry_count == 10


def test_a_202_is_polled_until_the_job_is_done(folder: Path) -> None:
    # given a service whose jobs are running at the first look, done at the second; one of them fails
    looks: dict[str, int] = {}

    async def accept(request: web.Request) -> web.Response:
        if request.method == "POST":
            job_id = f"j{(await request.read())[2]}"
            looks[job_id] = 0
            headers = {"Location": f"/v1/jobs/{job_id}", "Retry-After": "0"}
            return web.json_response(job("queued", job_id), status=202, headers=headers)
        job_id = request.path.removeprefix("/v1/jobs/")
        looks[job_id] += 1
        if looks[job_id] == 1:
            return web.json_response(job("running", job_id), headers={"Retry-After": "0"})
        if job_id == "j3":
            return web.json_response(job("failed", job_id, error={"code": "image_truncated"}))
        return web.json_response(job("succeeded", job_id))

    # when the images are sent
    with serving(accept) as url:
        report = run(f"{url}/v1/classify", folder)

    # then every one got its own outcome, and latency counts until then
    assert looks == dict.fromkeys(looks, 2)
    assert (report.accepted, report.answered, report.unique_jobs) == (10, 9, 9)
    assert report.errors == {"image_truncated": 1}
    assert report.latency_s.min >= 0.1  # two pauses of at least 0.05 s


def test_a_202_that_does_not_say_where_to_look_is_an_invalid_answer(folder: Path) -> None:
    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(job("queued"), status=202)

    with serving(accept) as url:
        report = run(f"{url}/v1/classify", folder)
    assert report.errors == {"answer_invalid": 10}


@pytest.mark.parametrize("in_flight_max", [1, 64])
def test_in_an_open_loop_the_latency_of_a_slow_service_grows(folder: Path, in_flight_max: int) -> None:
    # given a service that does one image in 20 ms, at twice the rate it can take
    one_at_a_time: list[asyncio.Lock] = []

    async def work(request: web.Request) -> web.Response:
        if not one_at_a_time:
            one_at_a_time.append(asyncio.Lock())
        await request.read()
        async with one_at_a_time[0]:
            await asyncio.sleep(0.02)
        return web.Response(text="tench")

    # when thirty requests come
    with serving(work) as url:
        report = run(
            f"{url}/upload",
            folder,
            request_count=30,
            rate_per_s=100,
            arrival=Arrival.CONSTANT,
            in_flight_max=in_flight_max,
        )

    # then each waits about 10 ms longer than the one before, wherever the queue stands
    latencies_s = [answer.latency_s for answer in sorted(report.answers, key=lambda a: a.due_at_s)]
    assert report.answered == 30
    assert latencies_s[9] > latencies_s[0] + 0.05
    assert latencies_s[29] > latencies_s[9] + 0.12


def test_a_connection_closed_mid_way_is_an_error_and_no_crash(folder: Path) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        body = await request.read()
        if b'filename="test_4' in body and request.transport is not None:
            request.transport.close()
        return web.Response(text="tench")

    with serving(hang_up) as url:
        report = run(f"{url}/upload", folder, request_count=20, concurrency=2)
    assert (report.answered, report.errors) == (18, {"connection_lost": 2})
    assert report.statuses == {0: 2, 200: 18}


def test_a_service_that_does_not_answer_times_out(folder: Path) -> None:
    async def wait_for_ever(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with serving(wait_for_ever) as url:
        report = run(f"{url}/upload", folder, request_count=3, timeout_s=0.1)
    assert report.errors == {"timeout": 3}


def test_nothing_listening_is_an_error_per_request(folder: Path) -> None:
    report = run(f"http://127.0.0.1:{unused_port()}/upload", folder)
    assert report.errors == {"connection_refused": 10}


def test_an_answer_that_is_no_http_is_an_error(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 smtp.example ESMTP\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        report = run(f"http://127.0.0.1:{listener.getsockname()[1]}/upload", folder, request_count=1)
        thread.join(WAIT_S)
    assert report.errors == {"answer_invalid": 1}


def test_ctrl_c_ends_the_run_with_the_report_of_what_was_done(folder: Path) -> None:
    # given a service that answers five requests, and then leaves both clients waiting
    answers: list[Answer] = []
    requests = 0
    both_wait = threading.Event()

    async def answer_five(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        if requests > 5:
            if requests == 7:
                both_wait.set()
            await asyncio.Event().wait()
        return await label_it(request)

    def press_ctrl_c() -> None:
        both_wait.wait(WAIT_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    # when Ctrl-C comes while they wait
    thread = threading.Thread(target=press_ctrl_c)
    # What a shell starts in the background ignores Ctrl-C, and so would these tests.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with serving(answer_five) as url:
            plan = LoadPlan(f"{url}/upload", images_in(folder), duration_s=60.0, concurrency=2)
            thread.start()
            report = run_load(plan, answers.append)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join(WAIT_S)

    # then the report has the five, and no request that waited was taken for a failed one
    assert both_wait.is_set()
    assert report.is_interrupted
    assert not report.is_clean
    assert (report.answered, report.errors) == (5, {})
    assert report.answers == tuple(answers)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def command(*arguments: object) -> Result:
    """Run `beholder load` as the group runs it: click keeps the help option of a command's first call."""
    return CliRunner().invoke(GROUP, ["load", *(str(argument) for argument in arguments)])


def test_the_command_takes_the_classic_flags(folder: Path) -> None:
    with serving(label_it) as url:
        result = command("--num_request", 25, "--url", f"{url}/upload", "--image_folder", f"{folder}/")
    assert result.exit_code == 0, result.output
    assert "25 of 25 requests" in result.stdout
    assert "10 answered, 15 answers to files sent again" in result.stdout


def test_the_command_prints_json_and_writes_the_page(folder: Path, tmp_path: Path) -> None:
    page, labels = tmp_path / "out.html", tmp_path / "labels.csv"
    labels.write_text("file,index,name\n" + "".join(f"test_{index}.JPEG,{index},x\n" for index in range(10)))

    async def classify(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(job("succeeded"))

    with serving(classify) as url:
        result = command(
            *(
                "--url",
                f"{url}/v1/classify",
                "--image-folder",
                folder,
                "--num-request",
                10,
                "--concurrency",
                2,
            ),
            *("--expect", labels, "--report", page, "--json", "--quiet"),
        )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["accuracy"] == {"known": 10, "top_1": 1, "top_5": 2}
    assert (document["requests"], document["unique_jobs"], document["duplicate_jobs"]) == (10, 1, 9)
    assert page.read_text().count('class="point"') == 10


def test_the_command_fails_when_a_request_got_no_answer(folder: Path) -> None:
    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"code": "overloaded"}, status=503)

    with serving(refuse) as url:
        result = command("--url", f"{url}/upload", "--image_folder", folder, "--each")
    assert result.exit_code == 1
    assert "overloaded: 10" in result.stdout
    assert result.stderr.count("ERROR overloaded") == 10


def test_the_command_prints_what_to_do_when_nothing_listens(folder: Path) -> None:
    result = command("--url", f"http://127.0.0.1:{unused_port()}/upload", "--image_folder", folder)
    assert result.exit_code == 2
    assert "is the service running? start it with: beholder up" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image_folder", "nowhere"], "there is no folder nowhere"),
        (["--image_folder", "."], "holds no image"),
        (["--image_folder", "images", "--url", "127.0.0.1:8080"], "url must be http://HOST:PORT/PATH"),
        (["--image_folder", "images", "--expect", "labels.csv"], "add --api v1"),
        (["--image_folder", "images", "--api", "v1", "--expect", "labels.csv"], "labels.csv cannot be read"),
        (
            ["--image_folder", "images", "--report", "no/x.html"],
            "give --report a file in a folder that exists",
        ),
        (
            ["--image_folder", "images", "--report", "images"],
            "the report cannot be written to images (Is a dir",
        ),
        ([], "--image_folder"),
    ],
)
def test_the_command_prints_what_to_do_when_it_cannot_start(
    arguments: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_no_request_is_sent_for_a_report_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    requests = 0

    async def count(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return await label_it(request)

    with serving(count) as url:
        there = command("--url", f"{url}/upload", "--image_folder", folder, "--report", tmp_path / "a.html")
        assert (there.exit_code, requests) == (0, 10)
        bad = command("--url", f"{url}/upload", "--image_folder", folder, "--report", tmp_path / "no" / "x")
    assert (bad.exit_code, bad.stdout, requests) == (2, "", 10)
    assert f"{tmp_path / 'no' / 'x'} (No such file or directory)" in bad.stderr


def test_a_run_that_cannot_start_leaves_the_report_of_the_last_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    for name in ("old.html", "new.html"):
        url = f"http://127.0.0.1:{unused_port()}/upload"
        assert command("--url", url, "--image_folder", folder, "--report", tmp_path / name).exit_code == 2
    assert (tmp_path / "old.html").read_text() == "old"
    assert not (tmp_path / "new.html").exists()


def test_the_summary_is_printed_even_where_the_disk_is_full(folder: Path) -> None:
    with serving(label_it) as url:
        result = command("--url", f"{url}/upload", "--image_folder", folder, "--report", "/dev/full")
    assert result.exit_code == 1
    assert "10 of 10 requests" in result.stdout
    assert "the report cannot be written to /dev/full: No space left on device" in result.stderr


def test_the_command_imports_nothing_heavy_before_it_runs() -> None:
    look = "import beholder.cli.load, sys; print({'aiohttp', 'rich', 'uvloop'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_key_is_sent_with_every_request_and_to_no_other_server(folder: Path) -> None:
    seen: list[tuple[str, str, str | None]] = []

    def polled(name: str, elsewhere: str) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            seen.append((name, request.method, request.headers.get("Authorization")))
            if request.method == "POST":
                where = {"Location": f"{elsewhere}/v1/jobs/1", "Retry-After": "0"}
                return web.json_response(job("queued"), status=202, headers=where)
            return web.json_response(job("succeeded"))

        return answer

    with serving(polled("other", "")) as other:
        for location in ("", other):
            with serving(polled("ours", location)) as url:
                run(f"{url}/v1/classify", folder, request_count=1, key="bhk_x")

    bearer = "Bearer bhk_x"
    assert seen == [
        ("ours", "POST", bearer),
        ("ours", "GET", bearer),
        ("ours", "POST", bearer),
        ("other", "GET", None),
    ]
