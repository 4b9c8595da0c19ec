"""The index page before a service that answers what a test wants it to: late, busy or hostile."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Self

from beholder.web.routes.pages import ASSETS

__all__ = ["Answer", "CannedService", "done", "problem"]

PAGES = resources.files("beholder.web") / "pages"

Answer = tuple[int, dict[str, str], dict[str, Any]]


def done(*labels: tuple[str, float]) -> Answer:
    """Return the answer for a job that succeeded."""
    found = [{"name": name, "index": 0, "confidence": confidence} for name, confidence in labels]
    metrics = {"queue_ms": 3.0, "infer_ms": 20.0}
    return 200, {}, {"status": "succeeded", "result": {"labels": found}, "error": None, "metrics": metrics}


def problem(status: int, detail: str) -> Answer:
    """Return a problem."""
    return status, {"Retry-After": "1"}, {"status": status, "detail": detail, "code": "a_code"}


class CannedService:
    """Serves the index page; each upload and each look at a job takes the next of `answers`."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.uploads: list[str] = []
        self.models: list[dict[str, Any]] = [{"name": "a-model", "classes": 1000}]
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # The browser keeps connections open that it may need; the end of a test does not wait for it.
    daemon_threads = True
    service: CannedService


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/assets/")
        if self.path == "/":
            self._send(200, {"Content-Type": "text/html"}, (PAGES / "index.html").read_bytes())
        elif name in ASSETS:
            self._send(200, {"Content-Type": ASSETS[name]}, (PAGES / "assets" / name).read_bytes())
        elif self.path == "/v1/models":
            self._answer((200, {}, {"models": self.server.service.models}))
        elif self.path == "/v1/limits":
            self._answer((200, {}, {"image_bytes_max": 1000}))
        else:
            self._answer(self.server.service.answers.popleft())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.service.uploads.append(self.path)
        self._answer(self.server.service.answers.popleft())

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, answer: Answer) -> None:
        status, headers, document = answer
        self._send(status, {"Content-Type": "application/json"} | headers, json.dumps(document).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
