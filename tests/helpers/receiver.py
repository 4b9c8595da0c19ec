"""A receiver of webhooks: an HTTP server of this process that keeps what comes, and answers as it is told."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks.webhooks import Webhook

__all__ = ["SECRET", "Delivery", "Receiver"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"  # noqa: S105 -- of tests
WAIT_S = 60.0


@dataclass(frozen=True)
class Delivery:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str = SECRET) -> Any:
        """Return the document, once the library of Standard Webhooks accepts its signature."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Answers each request with the next of its answers, and with the last one from then on.

    Args:
        answers: Each a status, with headers, or a function that writes to the connection itself.
        host: An address of this machine.
    """

    def __init__(
        self, *answers: tuple[int, dict[str, str]] | Callable[[Any], None], host: str = "127.0.0.1"
    ) -> None:
        self._host = host
        self.deliveries: list[Delivery] = []
        self._answers = list(answers) or [(200, {})]
        self._came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.take(Delivery(self.path, headers, body))
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer[0])
                for name, value in answer[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook") -> str:
        return f"http://{self._host}:{self.port}{path}"

    def take(self, delivery: Delivery) -> Any:
        with self._came:
            self.deliveries.append(delivery)
            self._came.notify_all()
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def await_count(self, count: int) -> list[Delivery]:
        """Return the deliveries, once there are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.deliveries) >= count, WAIT_S), self.deliveries
            return list(self.deliveries)
