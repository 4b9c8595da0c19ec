"""`beholder classify --url` before services that are busy, gone, or something else."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from beholder.cli.remote import RemoteService, recognise_remotely
from beholder.errors import BackendUnavailable, ConfigError, ImageTruncated, ImageTypeUnsupported
from beholder.job import Label

LABEL = {"name": "tabby", "index": 281, "confidence": 0.5}
DONE = (200, {}, {"status": "succeeded", "result": {"labels": [LABEL]}})
QUEUED = (202, {"Retry-After": "7"}, {"status": "queued", "urls": {"get": "/v1/jobs/1"}})
BUSY = (503, {"Retry-After": "3"}, {"status": 503, "code": "overloaded", "detail": "Later."})

Canned = tuple[int, dict[str, str], Any]


@contextmanager
def answering(*answers: Canned) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """Serve one answer after another; yields the address and what was asked: method, path and key."""
    left, asked = list(answers), list[tuple[str, str, str | None]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self) -> None:
            asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, headers, document = left.pop(0)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def labels_of(url: str, pause: Callable[[float], object] = lambda _: None) -> tuple[Label, ...]:
    return RemoteService(url, "bhk_x", pause).labels_of(b"image", {"top_k": 1})


def test_a_busy_service_and_an_unfinished_job_are_asked_again_when_they_say() -> None:
    pauses: list[float] = []
    with answering(BUSY, QUEUED, BUSY, QUEUED, DONE) as (url, asked):
        assert labels_of(url, pauses.append) == (Label("tabby", 281, 0.5),)
    assert pauses == [3, 7, 3, 7]
    post, get = ("POST", "/v1/classify?top_k=1", "Bearer bhk_x"), ("GET", "/v1/jobs/1", "Bearer bhk_x")
    assert asked == [post, post, get, get, get]


def test_a_service_that_stays_busy_is_given_up() -> None:
    pauses: list[float] = []
    slow = (503, {"Retry-After": "300"}, BUSY[2])
    with answering(slow, slow, slow) as (url, _), pytest.raises(BackendUnavailable, match="Later"):
        labels_of(url, pauses.append)
    assert pauses == [300, 300]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((415, {}, {"code": "image_type_unsupported", "detail": "No image."}), ImageTypeUnsupported),
        (
            (200, {}, {"status": "failed", "error": {"code": "image_truncated", "detail": "x"}}),
            ImageTruncated,
        ),
        ((418, {}, {"code": "unheard_of", "detail": "x"}), BackendUnavailable),
        ((401, {}, {"code": "key_refused", "detail": "The key is revoked."}), ConfigError),
        ((403, {}, {"code": "scope_missing", "detail": "x"}), ConfigError),
        ((200, {}, b"<html>"), ConfigError),
        ((200, {}, []), ConfigError),
    ],
)
def test_a_refusal_is_the_error_that_this_process_would_name(answer: Canned, error: type[Exception]) -> None:
    with answering(answer) as (url, _), pytest.raises(error):
        labels_of(url)


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with answering(DONE) as (other, asked):
        moved = (307, {"Location": f"{other}/v1/classify"}, {"detail": "moved"})
        with answering(moved) as (url, _), pytest.raises(BackendUnavailable, match="moved"):
            labels_of(url)
    assert asked == []


def test_a_refused_key_ends_the_run_and_a_bad_file_does_not(tmp_path: Path) -> None:
    good = tmp_path / "a.jpg"
    good.write_bytes(b"image")
    files = [str(tmp_path / "gone.jpg"), str(good)]
    with answering(DONE) as (url, _):
        found = list(recognise_remotely(files, RemoteService(url, "", lambda _: None), {}))
    assert [(one.error is None, len(one.labels)) for one in found] == [(False, 0), (True, 1)]
    refused = (401, {}, {"detail": "The API key is unknown."})
    with answering(*[refused] * 9) as (url, _), pytest.raises(ConfigError, match="BEHOLDER_API_KEY"):
        list(recognise_remotely([str(good)] * 9, RemoteService(url, "", lambda _: None), {}))


def test_a_service_that_is_not_there_is_told() -> None:
    with answering() as (url, _):
        pass
    with pytest.raises(ConfigError, match="cannot be reached"):
        labels_of(url)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x/upload"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        RemoteService(url, "", lambda _: None)
