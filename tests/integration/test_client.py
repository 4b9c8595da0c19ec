"""The client before a real service: a folder, jobs, its own errors, and a web process that is killed."""

import asyncio
import json
import os
import re
import signal
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beholder.client import AsyncClient, BadImage, Client, JobError, NotFound, ServiceUnreachable
from beholder.job import Job, JobStatus
from helpers.certificates import make_certificate
from helpers.images import jpeg
from helpers.service import RunningService

CONCURRENCY = 4


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[RunningService]:
    """A service with a tiny model and one worker, whose web process a test kills."""
    data_dir = tmp_path_factory.mktemp("client") / "data"
    with RunningService(data_dir, workers=1, model=tiny_model) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images and a file that is none."""
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "text.jpg").write_bytes(b"a text")
    return tmp_path


def check(results: list[tuple[str, bool]]) -> None:
    """Check that each file of the folder has one result, and all but one have labels."""
    images = [(f"{number}.jpg", True) for number in range(12)]
    assert sorted(results) == sorted([*images, ("text.jpg", False)])


def outcomes(service: RunningService) -> set[str]:
    return {path.name for path in service.data_dir.glob("**/results/**/*.json")}


def test_a_folder_an_open_file_and_a_job_by_both_clients(own: RunningService, folder: Path) -> None:
    with Client(own.url) as client:
        check([(Path(one.file).name, bool(one.labels)) for one in client.batch(folder)])
        job = client.submit(folder / "1.jpg", top_k=2)
        assert len(client.wait(job).labels) == 2
        assert client.get(job.id).status is JobStatus.SUCCEEDED
        with (folder / "1.jpg").open("rb") as opened:
            assert client.classify(opened, top_k=2).labels == client.wait(job).labels

    async def run() -> None:
        async with AsyncClient(own.url) as client:
            check([(Path(one.file).name, bool(one.labels)) async for one in client.batch(folder)])
            first = await client.submit(folder / "1.jpg")
            assert (await client.wait(first)).labels == (await client.classify(folder / "1.jpg")).labels

    asyncio.run(run())


def test_the_service_s_errors_are_those_of_the_client(own: RunningService, folder: Path) -> None:
    with Client(own.url) as client:
        with pytest.raises(BadImage) as refused:
            client.classify(folder / "text.jpg")
        assert refused.value.reason == "image_type_unsupported"
        with pytest.raises(BadImage) as failed:
            client.classify(jpeg(1)[:-200])
        assert isinstance(failed.value, JobError)
        with pytest.raises(NotFound, match="no model is named"):
            client.classify(folder / "1.jpg", model="other")
        with pytest.raises(NotFound):
            client.get("0")
        assert client.classify(folder / "1.jpg", idempotency_key="mine").id == (
            client.classify(folder / "1.jpg", idempotency_key="mine").id
        )
    with Client("http://127.0.0.1:9") as nowhere, pytest.raises(ServiceUnreachable):
        nowhere.classify(folder / "1.jpg")


def test_a_web_process_that_is_killed_loses_and_doubles_nothing(own: RunningService, folder: Path) -> None:
    """The worker stands still, so that the web process dies while every request in hand is accepted."""
    before = outcomes(own)
    children = own.children()
    worker = next(pid for name, pid in children.items() if name.startswith("worker"))
    web = next(pid for name, pid in children.items() if name.startswith("web"))
    (folder / "text.jpg").unlink()
    with Client(own.url) as client, ThreadPoolExecutor(1) as pool:
        client.get(client.submit(folder / "1.jpg"))
        accepted = queued(own)
        os.kill(worker, signal.SIGSTOP)
        try:
            batch = client.batch(folder, concurrency=CONCURRENCY)
            results = pool.submit(lambda: list(batch))
            while queued(own) < accepted + CONCURRENCY:
                assert not results.done()
            os.kill(web, signal.SIGKILL)
        finally:
            os.kill(worker, signal.SIGCONT)
        found = results.result(120)
    assert [one.error for one in found] == [None] * 12
    assert len({one.file for one in found}) == 12
    # One of them is that of the image submitted beforehand.
    assert len(outcomes(own) - before) == 13


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server with a certificate for photos.example.com, which this process trusts."""
    certificate, key = make_certificate(tmp_path, ["photos.example.com"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(Job(self.headers["Host"], JobStatus.QUEUED, 0.0).to_dict()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_certificate_is_checked_for_the_host_name_whatever_address_is_connected_to(secure: str) -> None:
    with Client(secure, host_name="photos.example.com") as client:
        assert client.get("1").id == "photos.example.com"


@pytest.mark.parametrize("host_name", ["", "other.example.com"])
def test_a_certificate_of_another_name_is_refused(secure: str, host_name: str) -> None:
    with (
        Client(secure, host_name=host_name) as client,
        pytest.raises(ServiceUnreachable, match="certificate is not valid for"),
    ):
        client.get("1")


def queued(service: RunningService) -> float:
    """Return how many jobs the web process has accepted."""
    page = service.get("/metrics").body.decode()
    told = re.search(r'^beholder_jobs_total{state="queued"} (\S+)$', page, re.MULTILINE)
    assert told is not None
    return float(told[1])
