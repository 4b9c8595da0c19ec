"""A real `beholder up` in processes of its own, as a user starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

READY_S = 60.0


@dataclass(frozen=True)
class Reply:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningService:
    """`beholder up` on a free port of 127.0.0.1, ready when `start` returns.

    Args:
        data_dir: Its data folder.
        settings: Further settings, by name.
    """

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        self.url = ""
        self.lines: list[str] = []
        self._settings = {"workers": 2, "workers_min": 0, "port": 0} | settings
        self._seen = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BEHOLDER_")}
        for name, value in self._settings.items():
            environment[f"BEHOLDER_{name.upper()}"] = str(value)
        self.lines.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "beholder", "up", "--data-dir", str(self.data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        line = self.await_line(r"beholder is up +(http\S+)")
        self.url = line[1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        assert self._process is not None
        status = self._process.wait(60)
        assert self._reader is not None
        self._reader.join(60)
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None
        return status

    def await_line(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """Return the match of the `count`-th line with `pattern`, waiting for it."""

        def matches() -> list[re.Match[str]]:
            return [match for match in (re.search(pattern, line) for line in self.lines) if match]

        with self._seen:
            found = self._seen.wait_for(lambda: len(matches()) >= count or self._is_over(), READY_S)
            if not found or len(matches()) < count:
                raise AssertionError(f"no line like {pattern!r}:\n" + "\n".join(self.lines))
            return matches()[count - 1]

    def children(self) -> dict[str, int]:
        """Return the process ids of the web tier and the workers, by name."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_text().split("\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == self.pid and "--name" in command:
                found[command[command.index("--name") + 1]] = int(entry.name)
        return found

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> Reply:
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return Reply(response.status, _lower(response.headers), response.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return Reply(exc.code, _lower(exc.headers), exc.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=headers)

    def classify(self, data: bytes, query: str = "", **headers: str) -> Reply:
        named = {"content-type": "application/octet-stream"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        return self.request("POST", f"/v1/classify{query}", data, named)

    def upload(
        self, data: bytes, *, field: str = "myfile", path: str = "/upload", name: str = "a.jpg"
    ) -> Reply:
        body, content_type = multipart({field: (name, data)})
        return self.request("POST", path, body, {"content-type": content_type})

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._seen:
                self.lines.append(line.rstrip("\n"))
                self._seen.notify_all()
        process.wait()  # or whoever waits for a line hears of the end only when their time is over
        with self._seen:
            self._seen.notify_all()

    def _is_over(self) -> bool:
        return self._process is None or self._process.poll() is not None


def multipart(parts: dict[str, str | tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return a multipart body and its content type; a tuple is a file."""
    boundary = "xxBOUNDARYxx"
    chunks = []
    for name, value in parts.items():
        if isinstance(value, tuple):
            disposition = f'form-data; name="{name}"; filename="{value[0]}"'
            data = value[1]
        else:
            disposition, data = f'form-data; name="{name}"', value.encode()
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
        chunks.append(head + data + b"\r\n")
    return b"".join(chunks) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
