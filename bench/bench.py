"""`make bench`: the service, the bare loop and two peers in turns, as ratios to the bare loop.

    python bench/bench.py [--images FOLDER] [--rounds N] [--seconds S] [--precision P] [--peers PYTHON]

Nothing else should run meanwhile. All servers run from the beginning to the end; every round measures the
bare loop and then each server, with wrk (a Debian package), and the ratio of a round compares only what was
measured in that round. The machine is shared by the load generator, so the servers pay for it and the bare
loop does not. `--peers` names the Python of an environment with mosec and LitServe; `make bench` makes it.
Neither peer stores anything: an image that one of them has taken is lost if it ends.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import openvino

from load import Load, photos_of, wrk
from servers import HERE, LitServe, Mosec, Server, Service

GOALS = {
    "throughput": 0.95,
    "latency_ms": 1.0,
    "memory_mib": 400.0,
    "first_answer_s": 1.2,
    "idle_percent": 1.0,
}
CONNECTIONS = (1, 16, 64, 256)
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass
class Measured:
    """What was measured of one server: loads by the number of connections, a list entry a round."""

    first: Load
    loads: dict[int, list[Load]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})
    cpu_ms: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Bare:
    """What was measured of the bare loop, an entry a round: two processes, and one."""

    images_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, folder: Path, seconds: float, environment: Mapping[str, str]) -> None:
        both = bare_loop(folder, 2, seconds, environment)
        one = bare_loop(folder, 1, seconds, environment)
        self.images_per_s.append(both["images_per_s"])
        self.p50_ms.append(one["ms_p50"])
        self.p99_ms.append(one["ms_p99"])


def bare_loop(
    folder: Path, processes: int, seconds: float, environment: Mapping[str, str]
) -> dict[str, float]:
    command = [sys.executable, str(HERE / "bare.py"), str(folder), str(processes), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    return json.loads(done.stdout)


@contextlib.contextmanager
def started(
    images: list[Path], given: argparse.Namespace, environment: dict[str, str]
) -> Iterator[list[Server]]:
    """Start the service and the peers; each answers."""
    servers: list[Server] = [Service(images, precision=given.precision)]
    try:
        if given.peers:
            servers += [Mosec(given.peers, environment), LitServe(given.peers, environment)]
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.stop()


def measure(server: Server, images: list[Path], seconds: float, found: Measured) -> None:
    for count in CONNECTIONS:
        before = server.cpu_s()
        load = wrk(server, images, count, seconds)
        found.loads[count].append(load)
        if count == 16:
            after = server.cpu_s()
            found.cpu_ms.append(
                {kind: (after[kind] - used) * 1000 / load.images for kind, used in before.items()}
            )


def middle(values: list[float], form: str = "{:.2f}") -> str:
    """Return the median and the range."""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"


def show(bare: Bare, measured: Mapping[str, Measured], memory: Mapping[str, Mapping[str, float]]) -> None:
    print(
        "\n| what | connections | of the bare loop | img/s | p50, ms | p99, ms |\n|---|---|---|---|---|---|"
    )
    print(
        f"| bare loop | none | 1 | {middle(bare.images_per_s, '{:.0f}')} | {middle(bare.p50_ms, '{:.1f}')} "
        f"| {middle(bare.p99_ms, '{:.1f}')} |"
    )
    for name, found in measured.items():
        for count, loads in found.loads.items():
            ratios = [load.images_per_s / limit for load, limit in zip(loads, bare.images_per_s, strict=True)]
            columns = (
                middle(ratios),
                middle([load.images_per_s for load in loads], "{:.0f}"),
                middle([load.p50_ms for load in loads], "{:.1f}"),
                middle([load.p99_ms for load in loads], "{:.1f}"),
            )
            print(f"| {name} | {count} | {' | '.join(columns)} |")
    print("\n| what | img/s right after the start | CPU, ms an image | memory, MiB |\n|---|---|---|---|")
    limit = statistics.median(bare.images_per_s)
    print(f"| bare loop | | {2000 / limit:.2f} | |")
    for name, found in measured.items():
        cpu = {kind: statistics.median(row[kind] for row in found.cpu_ms) for kind in found.cpu_ms[0]}
        columns = f"{found.first.images_per_s:.0f}", _parts(cpu, "{:.2f}"), _parts(memory[name], "{:.0f}")
        print(f"| {name} | {' | '.join(columns)} |")


def _parts(values: Mapping[str, float], form: str) -> str:
    parts = ", ".join(f"{kind} {form.format(value)}" for kind, value in sorted(values.items()))
    return f"{form.format(sum(values.values()))} ({parts})"


def verdict(name: str, value: float, form: str, goal: float, *, at_least: bool = False) -> None:
    is_met = value >= goal if at_least else value <= goal
    bound = f"{'at least' if at_least else 'at most'} {goal:g}"
    print(f"  {name:<52} {form.format(value):>8}   goal {bound:<14} {'met' if is_met else 'MISSED'}")


def show_verdicts(bare: Bare, measured: Mapping[str, Measured], service: "Costs") -> None:
    ours = measured["beholder"]
    rates = [load.images_per_s for load in ours.loads[16]]
    ratio = statistics.median(rate / limit for rate, limit in zip(rates, bare.images_per_s, strict=True))
    added = statistics.median(
        load.p50_ms - alone for load, alone in zip(ours.loads[1], bare.p50_ms, strict=True)
    )
    print("\nmedians of the rounds:")
    verdict(
        "throughput at 16 connections, of the bare loop", ratio, "{:.3f}", GOALS["throughput"], at_least=True
    )
    for name, found in measured.items():
        if found is not ours:
            theirs = [load.images_per_s for load in found.loads[16]]
            against = statistics.median(a / b for a, b in zip(rates, theirs, strict=True))
            verdict(f"the same, of {name}", against, "{:.3f}", 1.0, at_least=True)
    verdict("p50 at 1 connection, ms above the bare loop", added, "{:.2f}", GOALS["latency_ms"])
    verdict("memory of all processes, MiB", service.memory_mib, "{:.0f}", GOALS["memory_mib"])
    verdict(
        "from `beholder up` to the first answer, s", service.first_answer_s, "{:.2f}", GOALS["first_answer_s"]
    )
    verdict("CPU when idle, percent of a core", service.idle_percent, "{:.1f}", GOALS["idle_percent"])


@dataclass(frozen=True)
class Costs:
    """What the service takes apart from its load."""

    memory_mib: float
    first_answer_s: float
    idle_percent: float


def idle_percent(service: Server, seconds: float) -> float:
    before_s = sum(service.cpu_s().values())
    time.sleep(seconds)
    return (sum(service.cpu_s().values()) - before_s) / seconds * 100


def first_answer_s(images: list[Path], precision: str) -> float:
    starts = []
    for _ in range(3):
        service = Service(images, precision=precision)
        starts.append(service.first_answer_s)
        service.stop()
    return statistics.median(starts)


def where_the_time_goes(service: Server, images: list[Path]) -> None:
    """Print the medians of one request's parts."""
    rows = []
    for image in images:
        started_s = time.perf_counter()
        metrics = service.classify(image)["metrics"]
        rows.append(((time.perf_counter() - started_s) * 1000, metrics))
    parts: dict[str, Callable[[float, dict], float]] = {
        "store the image, queue, wake a worker": lambda _, metrics: metrics["queue_ms"],
        "decode, crop, resize": lambda _, metrics: metrics["decode_ms"],
        "the model": lambda _, metrics: metrics["infer_ms"],
        "HTTP, store the result, reply, answer": lambda whole, metrics: (
            whole - metrics["queue_ms"] - metrics["service_ms"]
        ),
    }
    print("\none request at a time, median ms (a new connection each):")
    for name, part in parts.items():
        print(f"  {name:<40} {statistics.median(part(*row) for row in rows):6.2f}")


def machine() -> str:
    """Return what the figures hang on: the CPU, its flags, the file system of the data."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    has = [name for name in FLAGS if flags and name in flags[1].split()]
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", tempfile.gettempdir()], check=False, capture_output=True, text=True
    )
    return (
        f"{model[1] if model else platform.machine()} ({', '.join(has) or 'no AVX2'}), "
        f"{len(os.sched_getaffinity(0))} cores, data on {told.stdout.strip()}, "
        f"Python {platform.python_version()}, load before {os.getloadavg()[0]:.1f}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beside = HERE.parents[1] / "shared" / "data" / "labelled"
    parser.add_argument("--images", type=Path, default=beside if beside.is_dir() else HERE.parent / "samples")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--precision", choices=("auto", "fp32"), default="auto")
    parser.add_argument("--peers", type=lambda text: Path(text).absolute(), help="without it, no peers")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian: apt-get install wrk")
    return given


def handler_environment(precision: str) -> dict[str, str]:
    """Return what tells a handler its model, and the precision that the service chooses on this CPU."""
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    model = resources.files("beholder.model") / "builtin" / "efficientnet-lite0" / "model.onnx"
    return {
        "BENCH_MODEL": str(model),
        "BENCH_PRECISION": "bf16" if has_bf16 and precision == "auto" else "f32",
    }


def main() -> None:
    given = arguments()
    images = photos_of(given.images)
    environment = handler_environment(given.precision)
    precision = environment["BENCH_PRECISION"]
    print(f"{machine()}\n{len(images)} photos, {given.rounds} rounds of {given.seconds:g} s, {precision}")
    first_s = first_answer_s(images, given.precision)
    bare = Bare()
    with started(images, given, environment) as servers:
        service = servers[0]
        measured = {server.name: Measured(first=wrk(server, images, 16, 3)) for server in servers}
        for number in range(1, given.rounds + 1):
            bare.add(given.images, given.seconds, environment)
            for server in servers:
                measure(server, images, given.seconds, measured[server.name])
            limit = bare.images_per_s[-1]
            ratios = {name: found.loads[16][-1].images_per_s / limit for name, found in measured.items()}
            told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
            print(f"  round {number}: bare {limit:.0f} img/s; of it at 16 connections {told}", flush=True)
        memory = {server.name: server.memory_mib() for server in servers}
        where_the_time_goes(service, images)
        idle = idle_percent(service, 10)
    show(bare, measured, memory)
    show_verdicts(bare, measured, Costs(sum(memory[service.name].values()), first_s, idle))


if __name__ == "__main__":
    main()
