"""A proxy in front of an emulator that does to HTTP what networks and overloaded services do."""

import http.client
import json
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Request(BaseHTTPRequestHandler):
    """One request, and what a fault may do with it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together, or Nagle's algorithm holds one back for 40 ms
    server: "_Server"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):  # the client left, or a fault closed the connection
            self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def operation(self) -> str:
        """The SQS action, or the HTTP method of an S3 request."""
        return self.headers.get("X-Amz-Target", self.command).rpartition(".")[2]

    @property
    def place(self) -> str:
        """The queue's name and a blank, or the path of an S3 request: `/bucket/key`."""
        if "X-Amz-Target" not in self.headers:
            return self.path
        return str(json.loads(self.body).get("QueueUrl", "")).rpartition("/")[2] + " "

    def _do(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        proxy.headers = {name.lower(): value for name, value in self.headers.items()}
        fault = proxy.next_fault(self.operation, self.place)
        if fault is None:
            self.answer(*self.forward())
        else:
            fault(self)

    def _wait_no_longer_than(self, wait_s_max: int) -> None:
        asked = json.loads(self.body)
        if asked.get("WaitTimeSeconds", 0) > wait_s_max:
            self.body = json.dumps({**asked, "WaitTimeSeconds": wait_s_max}).encode()
            del self.headers["Content-Length"]

    def forward(self) -> tuple[int, Mapping[str, str], bytes]:
        """Do the request upstream and return the answer."""
        if self.operation == "ReceiveMessage":
            self._wait_no_longer_than(self.server.proxy.wait_s_max)
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, self.body, dict(self.headers))
            answer = upstream.getresponse()
            body = answer.read()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_HEADERS}
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, headers, body
        finally:
            upstream.close()

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        raise ConnectionResetError


Fault = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: "FaultyProxy"


class FaultyProxy:
    """Forwards every request, but for those that a fault waits for.

    Args:
        endpoint: Of the emulator.
        wait_s_max: Long polls end after so many seconds: emulators let them wait at a queue that was deleted.
    """

    def __init__(self, endpoint: str, *, wait_s_max: int = 20) -> None:
        self.wait_s_max = wait_s_max
        self.upstream = urlsplit(endpoint).netloc
        self._lock = threading.Lock()
        self._faults: deque[tuple[str, str, Fault]] = deque()
        self.seen: list[str] = []
        self.headers: dict[str, str] = {}  # of the last request
        self._server = _Server(("127.0.0.1", 0), Request)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def inject(self, operation: str, *faults: Fault, where: str = "") -> None:
        """Let the next requests of `operation` meet these faults, one each.

        Args:
            operation: See `Request.operation`.
            faults: What they meet.
            where: Only requests meet them whose `Request.place` has this part.
        """
        with self._lock:
            self._faults.extend((operation, where, fault) for fault in faults)

    def next_fault(self, operation: str, place: str) -> Fault | None:
        with self._lock:
            self.seen.append(operation)
            for waiting in self._faults:
                if waiting[0] == operation and waiting[1] in place:
                    self._faults.remove(waiting)
                    return waiting[2]
        return None

    def unmet(self) -> list[str]:
        """Return what the faults wait for that have not been met."""
        with self._lock:
            return [f"{operation} {where}" for operation, where, _ in self._faults]

    def clear(self) -> None:
        """Forget the faults that have not been met."""
        with self._lock:
            self._faults.clear()

    @property
    def is_spent(self) -> bool:
        """Whether every fault has been met."""
        with self._lock:
            return not self._faults


# --- faults -------------------------------------------------------------------------------------------------


def reset(request: Request) -> None:
    request.reset()


def lost_reply(request: Request) -> None:
    """Do what was asked, and never tell."""
    request.forward()
    request.reset()


def stall(seconds: float) -> Fault:
    def fault(request: Request) -> None:
        time.sleep(seconds)
        request.reset()

    return fault


def late(seconds: float) -> Fault:
    """Do what was asked after this time, so that later requests overtake it."""

    def fault(request: Request) -> None:
        time.sleep(seconds)
        request.answer(*request.forward())

    return fault


def done_twice(request: Request) -> None:
    """Do what was asked twice, as a client does whose first reply was lost."""
    request.forward()
    request.answer(*request.forward())


def received_backwards(request: Request) -> None:
    """Give received messages in reverse order."""
    status, headers, body = request.forward()
    answer = json.loads(body)
    answer["Messages"] = answer.get("Messages", [])[::-1]
    request.answer(status, headers, json.dumps(answer).encode())


class Again:
    """Deliveries that come twice: what one receive is given, another is given under new receipts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: list[dict[str, Any]] = []

    def first(self, request: Request) -> None:
        status, headers, body = request.forward()
        with self._lock:
            self._given += json.loads(body).get("Messages", [])
        request.answer(status, headers, body)

    def second(self, request: Request) -> None:
        with self._lock:
            given, self._given = self._given[:10], self._given[10:]
        again = [{**one, "ReceiptHandle": secrets.token_hex(16)} for one in given]
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        request.answer(200, headers, json.dumps({"Messages": again}).encode())


def s3_error(status: int, code: str) -> Fault:
    """Answer as S3 does."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>for the test</Message></Error>".encode()
    return lambda request: request.answer(status, {"Content-Type": "application/xml"}, body)


def sqs_error(status: int, code: str, query_code: str | None = None) -> Fault:
    """Answer as SQS does; its JSON protocol names the error, and a header the older name."""
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "for the test"}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    if query_code:
        headers["x-amzn-query-error"] = f"{query_code};Sender"
    return lambda request: request.answer(status, headers, body)


def entries_failed(ids: set[str], code: str, *, is_sender_fault: bool) -> Fault:
    """Do a batch without the entries named, and report these as failed."""

    def fault(request: Request) -> None:
        asked = json.loads(request.body)
        failed = [one for one in asked["Entries"] if one["Id"] in ids]
        asked["Entries"] = [one for one in asked["Entries"] if one["Id"] not in ids]
        status, headers, answer = 200, {"Content-Type": "application/x-amz-json-1.0"}, {"Successful": []}
        if asked["Entries"]:
            request.body = json.dumps(asked).encode()
            del request.headers["Content-Length"]
            status, headers, body = request.forward()
            answer = json.loads(body)
        answer["Failed"] = [
            {"Id": one["Id"], "Code": code, "Message": "for the test", "SenderFault": is_sender_fault}
            for one in failed
        ]
        request.answer(status, headers, json.dumps(answer).encode())

    return fault
