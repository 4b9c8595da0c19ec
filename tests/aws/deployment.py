"""A deployment on an emulator: its queues and buckets, and real web and worker processes on them."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from aws.emulators import CREDENTIALS, REGION, Emulator

READY_S = 60.0


class Process:
    """One process of beholder, and the lines it logs."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._seen = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "beholder", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_line(self, pattern: str, timeout_s: float = READY_S) -> re.Match[str]:
        """Return the first line's match, waiting for it."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self._seen:
            self._seen.wait_for(lambda: found() or self._process.poll() is not None, timeout_s)
            match = found()
        assert match, f"no line like {pattern!r}:\n" + "\n".join(self.lines)
        return match

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def stop(self, timeout_s: float = 60.0) -> int:
        self.tell_to_end()
        return self.wait(timeout_s)

    def tell_to_end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 60.0) -> int:
        status = self._process.wait(timeout_s)
        self._reader.join(10)
        if self._process.stdout:
            self._process.stdout.close()
        return status

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._seen:
                self.lines.append(line.rstrip())
                self._seen.notify_all()
        self._process.wait()
        with self._seen:
            self._seen.notify_all()


class Deployment:
    """Queues and buckets as a deployment makes them, named after a prefix of their own.

    Args:
        emulator: Where they are.
        folder: Data folders of the processes.
        endpoint: What the processes speak to; the emulator itself where it is left out.
        settings: For every process, by name.
    """

    def __init__(
        self, emulator: Emulator, folder: Path, endpoint: str | None = None, **settings: object
    ) -> None:
        self.emulator = emulator
        self.prefix = f"zoo-{secrets.token_hex(4)}"
        self._folder = folder
        self._settings = {
            "backend": "aws",
            "region": REGION,
            "prefix": self.prefix,
            "consumers": 1,
        } | settings
        self._endpoint = endpoint or emulator.endpoint
        self.credentials = CREDENTIALS
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        s3, sqs = self.emulator.client("s3"), self.emulator.client("sqs")
        for name in ("input", "output"):
            s3.create_bucket(Bucket=f"{self.prefix}-{name}-bucket")
        kept = {"MessageRetentionPeriod": str(14 * 86_400)}
        dead = sqs.create_queue(QueueName=f"{self.prefix}-input-queue-dead", Attributes=kept)["QueueUrl"]
        redrive = {"deadLetterTargetArn": self.emulator.arn_of(dead), "maxReceiveCount": 3}
        attributes = kept | {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "30"}
        self.input_url = sqs.create_queue(QueueName=f"{self.prefix}-input-queue", Attributes=attributes)[
            "QueueUrl"
        ]
        self.dead_url = dead
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.is_running:
                # In good order it would wait for its polls; how processes end is tested where that matters.
                process.kill()

    def configure(self, **settings: object) -> None:
        """Set more, for every process that is started from now on."""
        self._settings |= settings

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of its processes."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("BEHOLDER_", "AWS_"))}
        ours = {f"BEHOLDER_{name.upper()}": str(value) for name, value in self._settings.items()}
        return plain | self.credentials | ours | {"AWS_ENDPOINT_URL": self._endpoint}

    def start_web(self, name: str = "web-0") -> "Web":
        """Start a web process, and return it once it is ready."""
        web = Web(self._start("web", name, "--port", "0"))
        web.await_ready()
        return web

    def start_worker(self, name: str = "worker-0", **settings: object) -> Process:
        """Start a worker; its models are warm once it logs `worker.ready`."""
        options = [
            text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))
        ]
        return self._start("worker", name, *options)

    def _start(self, command: str, name: str, *options: str) -> Process:
        folder = ["--data-dir", str(self._folder / name)]
        process = Process([command, "--name", name, *folder, *options], self.environment)
        self._processes.append(process)
        return process


class Web:
    """A web process that answers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = process.await_line(r"(http://127\.0\.0\.1:\d+)")[1]

    def await_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s and self.process.is_running:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the web process is not ready:\n" + "\n".join(self.process.lines))
