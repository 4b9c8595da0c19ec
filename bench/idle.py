"""What a service costs at rest: wake-ups, CPU and memory of its processes, for several versions, in turns.

    python bench/idle.py [--rounds N] [--seconds S] [--settle S] [SOURCE...]

Each SOURCE is a folder such as `src`, of this or of another checkout. A wake-up is a voluntary change of
context of a thread, as `/proc/PID/task/TID/status` counts them.
"""

import argparse
import re
import time
from pathlib import Path

from cpu import show
from load import photos_of
from servers import HERE, Service


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", type=Path, default=[HERE.parent / "src"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--settle", type=float, default=20.0)
    given = parser.parse_args()
    rows: dict[Path, list[dict[str, float]]] = {source: [] for source in given.sources}
    for _ in range(given.rounds):
        for source in given.sources:
            service = Service(photos_of(HERE.parent / "samples"), source=source)
            time.sleep(given.settle)
            rows[source].append(at_rest(service, given.seconds))
            service.stop()
    for source, found in rows.items():
        show(source, found)


def at_rest(service: Service, seconds: float) -> dict[str, float]:
    """Return the wake-ups per second by kind of process and in all, the CPU in % of a core, and MiB."""
    before, cpu_before_s = wake_ups(service), sum(service.cpu_s().values())
    time.sleep(seconds)
    after, cpu_after_s = wake_ups(service), sum(service.cpu_s().values())
    per_s = {f"{kind} wake-ups": (count - before[kind]) / seconds for kind, count in after.items()}
    return per_s | {
        "wake-ups": sum(per_s.values()),
        "CPU %": (cpu_after_s - cpu_before_s) / seconds * 100,
        "MiB (Pss)": sum(service.memory_mib().values()),
    }


def wake_ups(service: Service) -> dict[str, int]:
    counts = dict.fromkeys(("up", "web", "worker"), 0)
    for pid in service.pids():
        for task in Path(f"/proc/{pid}/task").iterdir():
            found = re.search(
                r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE
            )
            assert found is not None
            counts[service.kind_of(pid)] += int(found[1])
    return counts


if __name__ == "__main__":
    main()
