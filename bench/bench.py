"""`make bench`: the service beside the bare loop, in turns and in one run, as ratios.

    python bench/bench.py [--images FOLDER] [--rounds N] [--seconds S]

Nothing else should run meanwhile. Throughput is measured with wrk (a Debian package) at 16 connections,
latency at 1, both with raw JPEG bodies; every round measures the bare loop and the service one after the
other, and the ratio of a round compares only these two. The machine is shared by the load generator, so the
service pays for it and the bare loop does not.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOALS = {"throughput": 0.90, "latency_ms": 3.0, "rss_mb": 450.0, "first_answer_s": 2.5, "idle_percent": 3.0}
WRK_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Service:
    """`beholder up` with two workers on a data folder of its own."""

    def __init__(self, images: list[Path]) -> None:
        self._data = tempfile.TemporaryDirectory(prefix="beholder-bench-")
        started_s = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "beholder",
            "up",
            "--port",
            "0",
            "--workers",
            "2",
            "--data-dir",
            self._data.name,
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"beholder is up +(\S+)", line):
                self.url = found[1]
                break
        self.classify(images[0])
        self.first_answer_s = time.perf_counter() - started_s

    def classify(self, image: Path) -> dict:
        request = urllib.request.Request(f"{self.url}/v1/classify", data=image.read_bytes(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._data.cleanup()

    def rss_mb(self) -> dict[str, float]:
        found = {}
        for pid in self._pids():
            status = Path(f"/proc/{pid}/status").read_text()
            name = re.search(r"--name\0([\w-]+)", Path(f"/proc/{pid}/cmdline").read_text())
            kilobytes = re.search(r"VmRSS:\s+(\d+)", status)
            found[name[1] if name else "up"] = int(kilobytes[1]) / 1024 if kilobytes else 0.0
        return found

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time that each kind of process has used, in seconds."""
        used = dict.fromkeys(("up", "web", "worker"), 0.0)
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            name = re.search(r"--name\0(web|worker)", Path(f"/proc/{pid}/cmdline").read_text())
            ticks = int(fields[11]) + int(fields[12])
            used[name[1] if name else "up"] += ticks / os.sysconf("SC_CLK_TCK")
        return used

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]


def bare(folder: Path, processes: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, str(HERE / "bare.py"), str(folder), str(processes), str(seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def wrk(url: str, images: list[Path], connections: int, seconds: float) -> tuple[float, float]:
    """Return images per second and the median latency in milliseconds; every answer must be a 200."""
    environment = os.environ | {"BENCH_IMAGES": "\n".join(map(str, images))}
    script = str(HERE / "post.lua")
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{math.ceil(seconds)}s",
        "--timeout",
        "20s",
        "--latency",
        "-s",
        script,
        url,
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"not every request was answered:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    assert rate is not None
    assert median is not None
    return float(rate[1]), float(median[1]) * WRK_UNITS_MS[median[2]]


def idle_percent(service: Service, seconds: float) -> float:
    before_s = sum(service.cpu_s().values())
    time.sleep(seconds)
    return (sum(service.cpu_s().values()) - before_s) / seconds * 100


def where_the_time_goes(service: Service, images: list[Path], seconds: float) -> None:
    """Print the medians of one request's parts, and the CPU that each kind of process spends on an image."""
    rows = []
    for image in images:
        started_s = time.perf_counter()
        metrics = service.classify(image)["metrics"]
        rows.append(((time.perf_counter() - started_s) * 1000, metrics))
    parts = {
        name: statistics.median(row[name] for _, row in rows)
        for name in ("queue_ms", "decode_ms", "infer_ms")
    }
    rest = statistics.median(total - row["queue_ms"] - row["service_ms"] for total, row in rows)
    print("one request, median ms (a new connection each):")
    print("  store the image, queue, wake a worker   " + f"{parts['queue_ms']:6.2f}")
    print("  decode, crop, resize                    " + f"{parts['decode_ms']:6.2f}")
    print("  the model                               " + f"{parts['infer_ms']:6.2f}")
    print("  HTTP, store the result, reply, answer   " + f"{rest:6.2f}")
    before = service.cpu_s()
    rate, _ = wrk(service.url, images, 16, seconds)
    count = rate * math.ceil(seconds)
    spent = {name: (after - before[name]) * 1000 / count for name, after in service.cpu_s().items()}
    print(
        "CPU per image at 16 connections, ms: " + ", ".join(f"{name} {ms:.2f}" for name, ms in spent.items())
    )


def verdict(name: str, value: str, goal: str, *, is_met: bool) -> None:
    print(f"  {name:<44} {value:>12}   goal {goal:<10} {'met' if is_met else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beside = HERE.parents[1] / "shared" / "data" / "labelled"
    parser.add_argument("--images", type=Path, default=beside if beside.is_dir() else HERE.parent / "samples")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian: apt-get install wrk")
    images = sorted(path for path in given.images.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    load = os.getloadavg()[0]
    print(f"{len(images)} photos, {given.rounds} rounds of {given.seconds:g} s; load before {load:.1f}")

    starts = []
    for _ in range(3):
        service = Service(images)
        starts.append(service.first_answer_s)
        service.stop()
    service = Service(images)
    wrk(service.url, images, 16, 3)
    rates, latencies = [], []
    for number in range(1, given.rounds + 1):
        limit = bare(given.images, 2, given.seconds)["images_per_s"]
        rate, median_16 = wrk(service.url, images, 16, given.seconds)
        alone = bare(given.images, 1, given.seconds / 2)["ms_p50"]
        _, median = wrk(service.url, images, 1, given.seconds / 2)
        rates.append(rate / limit)
        latencies.append(median - alone)
        print(
            f"  round {number}: bare {limit:6.1f} img/s, service {rate:6.1f} img/s "
            f"(p50 {median_16:5.1f} ms), ratio {rate / limit:.3f}; "
            f"at 1 connection bare {alone:5.2f} ms, service {median:5.2f} ms"
        )
    where_the_time_goes(service, images, given.seconds)
    limit = bare(given.images, 2, given.seconds)["images_per_s"]
    print(f"  the bare loop spends {2000 / limit:.2f} ms of its two cores on an image")
    memory = service.rss_mb()
    idle = idle_percent(service, 10)
    service.stop()

    print("medians:")
    ratio, added, rss, first = (
        statistics.median(rates),
        statistics.median(latencies),
        sum(memory.values()),
        statistics.median(starts),
    )
    verdict(
        "throughput at 16 connections, of the bare loop",
        f"{ratio:.3f}",
        f">= {GOALS['throughput']}",
        is_met=ratio >= GOALS["throughput"],
    )
    verdict(
        "p50 at 1 connection, above the bare loop",
        f"{added:.2f} ms",
        f"<= {GOALS['latency_ms']:g} ms",
        is_met=added <= GOALS["latency_ms"],
    )
    verdict(
        "resident memory of all processes",
        f"{rss:.0f} MiB",
        f"<= {GOALS['rss_mb']:g}",
        is_met=rss <= GOALS["rss_mb"],
    )
    print("    " + ", ".join(f"{name} {size:.0f}" for name, size in sorted(memory.items())))
    verdict(
        "from `beholder up` to the first answer",
        f"{first:.2f} s",
        f"<= {GOALS['first_answer_s']} s",
        is_met=first <= GOALS["first_answer_s"],
    )
    verdict(
        "idle, of one core",
        f"{idle:.1f} %",
        f"<= {GOALS['idle_percent']:g} %",
        is_met=idle <= GOALS["idle_percent"],
    )


if __name__ == "__main__":
    main()
