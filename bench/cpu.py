"""How much CPU each kind of process spends on an image, for several versions of the source, in turns.

    python bench/cpu.py [--images FOLDER] [--rounds N] [--seconds S] [--connections N] [SOURCE...]

Each SOURCE is a folder such as `src`, of this or of another checkout; each runs as a service of its own, and
every round measures one after the other. CPU time depends less on other work on the machine than throughput
does. It is that of the processes, user and system, as the kernel counts it. With `--strace` the system calls
of the web process are counted instead, as strace sees them, which slows it down.
"""

import argparse
import collections
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from load import photos_of, wrk
from servers import HERE, Service

CALLS_SHOWN = 14


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", type=Path, default=[HERE.parent / "src"])
    parser.add_argument("--images", type=Path, default=HERE.parent / "samples")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--strace", action="store_true")
    given = parser.parse_args()
    images = photos_of(given.images)
    services = {source: Service(images, source=source) for source in given.sources}
    measure = calls if given.strace else cpu_ms
    rows: dict[Path, list[dict[str, float]]] = {source: [] for source in services}
    for service in services.values():
        wrk(service, images, given.connections, 3)
    for _ in range(given.rounds):
        for source, service in services.items():
            wrk(service, images, given.connections, 1)  # the workers are there
            rows[source].append(measure(service, images, given.connections, given.seconds))
    for source, service in services.items():
        show(source, rows[source])
        service.stop()


def cpu_ms(service: Service, images: list[Path], connections: int, seconds: int) -> dict[str, float]:
    """Return milliseconds of CPU per image, and images per second."""
    before = service.cpu_parts_s()
    load = wrk(service, images, connections, seconds)
    after = service.cpu_parts_s()
    spent = {name: (after[name] - before[name]) * 1000 / load.images for name in after}
    web = spent["web user"] + spent["web system"]
    return {"web": web} | spent | {"img/s": load.images_per_s}


def calls(service: Service, images: list[Path], connections: int, seconds: int) -> dict[str, float]:
    """Return the system calls of the web process per image."""
    with tempfile.NamedTemporaryFile() as log:
        command = ["strace", "-c", "-f", "-o", log.name, "-p", str(service.pid_of("web"))]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(1)
        load = wrk(service, images, connections, seconds)
        tracer.terminate()
        tracer.wait()
        lines = Path(log.name).read_text().splitlines()
    found = collections.Counter()
    for line in lines:
        if row := re.fullmatch(r" *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)", line):
            found[row[2]] = int(row[1])
    return {name: count / load.images for name, count in found.most_common(CALLS_SHOWN)}


def show(source: Path, rows: list[dict[str, float]]) -> None:
    print(source)
    for name in rows[0]:
        values = [row.get(name, 0.0) for row in rows]
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"  {name:<16} {median:8.3f}   ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
