"""The servers that a benchmark compares: each on a free port with two workers, and what its processes use."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

__all__ = ["HERE", "LitServe", "Mosec", "Server", "Service"]

HERE = Path(__file__).resolve().parent
STARTUP_S_MAX = 60.0


class Server:
    """A running server that classifies an image in a `POST path`.

    Args:
        name: What tables call it.
        command: Starts it.
        url: Its address.
        path: What an image is posted to.
        environment: Variables on top of this process's.
        field: The field of a form that holds the image; none, and the image is the body.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        url: str,
        path: str,
        *,
        environment: dict[str, str],
        field: str = "",
    ) -> None:
        self.name, self.url, self.path, self.field = name, url, path, field
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | environment,
            cwd=HERE,
        )

    def classify(self, image: Path) -> dict:
        request = urllib.request.Request(f"{self.url}{self.path}", data=image.read_bytes(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def wait(self) -> None:
        """Wait until it answers HTTP; a peer's workers may still start then, which the first load covers."""
        end_s = time.perf_counter() + STARTUP_S_MAX
        while True:
            try:
                with contextlib.suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(self.url, timeout=60).close()
            except (urllib.error.URLError, ConnectionError):
                if time.perf_counter() > end_s or self.process.poll() is not None:
                    sys.exit(f"{self.name} does not answer")
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        left = self.pids()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        for pid in left:  # LitServe leaves its workers
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pids(self) -> list[int]:
        """Return its processes: the one that was started, and all below it."""
        found, new = [], [self.process.pid]
        while new:
            found += new
            new = [child for pid in new for child in _children(pid)]
        return found

    def kind_of(self, pid: int) -> str:
        """Return what a process does, as far as its name tells."""
        return Path(f"/proc/{pid}/comm").read_text().strip()

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory by kind of process; what processes share is divided among them."""
        found: Counter[str] = Counter()
        for pid in self.pids():
            kilobytes = re.search(
                r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
            )
            assert kilobytes is not None
            found[self.kind_of(pid)] += int(kilobytes[1]) / 1024
        return dict(found)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time that each kind of process has used, in seconds."""
        used: Counter[str] = Counter()
        for pid in self.pids():
            used[self.kind_of(pid)] += sum(parts_s(pid).values())
        return dict(used)


class Service(Server):
    """`beholder up` with two workers on a data folder of its own.

    Args:
        images: The first of them is classified before this returns.
        source: The folder of the package, if not the installed one.
        precision: beholder's word: auto, fp32 or bf16.
    """

    def __init__(self, images: list[Path], *, source: Path | None = None, precision: str = "auto") -> None:
        self._data = tempfile.TemporaryDirectory(prefix="beholder-bench-")
        started_s = time.perf_counter()
        command = [sys.executable, "-P", "-m", "beholder", "up", "--port", "0", "--workers", "2"]
        command += ["--precision", precision, "--data-dir", self._data.name]
        environment = {"PYTHONPATH": str(source.resolve())} if source else {}
        super().__init__("beholder", command, "", "/v1/classify", environment=environment)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"beholder is up +(\S+)", line):
                self.url = found[1]
                break
        self.classify(images[0])
        self.first_answer_s = time.perf_counter() - started_s

    def stop(self) -> None:
        super().stop()
        self._data.cleanup()

    def kind_of(self, pid: int) -> str:
        name = re.search(r"--name\0(web|worker)", Path(f"/proc/{pid}/cmdline").read_text())
        return name[1] if name else "up"

    def cpu_parts_s(self) -> dict[str, float]:
        """Return `cpu_s`, divided into the time in the process and the time in the kernel."""
        used = {f"{kind} {part}": 0.0 for kind in ("up", "web", "worker") for part in ("user", "system")}
        for pid in self.pids():
            for name, seconds in parts_s(pid).items():
                used[f"{self.kind_of(pid)} {name}"] += seconds
        return used

    def pid_of(self, kind: str) -> int:
        return next(pid for pid in self.pids() if self.kind_of(pid) == kind)


class Mosec(Server):
    """mosec with two workers.

    Args:
        python: The Python of an environment that has it.
        environment: What the handler reads.
    """

    def __init__(self, python: Path, environment: dict[str, str]) -> None:
        port = free_port()
        command = [
            str(python),
            "peer_mosec.py",
            "--port",
            str(port),
            "--address",
            "127.0.0.1",
            "--log-level",
            "error",
        ]
        super().__init__("mosec", command, f"http://127.0.0.1:{port}", "/inference", environment=environment)


class LitServe(Server):
    """LitServe with two workers and one process for HTTP.

    Args:
        python: The Python of an environment that has it.
        environment: What the handler reads.
    """

    def __init__(self, python: Path, environment: dict[str, str]) -> None:
        port = free_port()
        command = [str(python), "peer_litserve.py", str(port)]
        super().__init__(
            "LitServe",
            command,
            f"http://127.0.0.1:{port}",
            "/predict",
            environment=environment,
            field="request",
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def parts_s(pid: int) -> dict[str, float]:
    """Return the CPU time of a process; the kernel counts the sum exactly, and samples the parts."""
    total_s = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total_s += int((task / "schedstat").read_text().split()[0]) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    share = system / max(1, user + system)
    return {"user": total_s * (1 - share), "system": total_s * share}


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
