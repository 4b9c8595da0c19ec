"""`beholder classify FOLDER` beside the bare loop with as many processes as cores, in turns.

    python bench/folder.py [--images FOLDER] [--rounds N] [--count N]

The folder has COUNT links to the photos. The time of a run on one photo, which is that of starting and
loading, is taken off.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import bare_loop, handler_environment
from load import photos_of
from servers import HERE

SECONDS = 5.0


def classify_s(*paths: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.jsonl")
        command = [sys.executable, "-P", "-m", "beholder", "classify", *map(str, paths), "--resume", str(out)]
        started_s = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=HERE.parent / "samples")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    photos = photos_of(given.images)
    cores = len(os.sched_getaffinity(0))
    environment = handler_environment("auto")
    ratios = []
    with tempfile.TemporaryDirectory(prefix="beholder-bench-") as folder:
        for number in range(given.count):
            Path(folder, f"{number:06}.jpg").symlink_to(photos[number % len(photos)].resolve())
        for number in range(1, given.rounds + 1):
            limit = bare_loop(given.images, cores, SECONDS, environment)["images_per_s"]
            rate = (given.count - 1) / (classify_s(Path(folder)) - classify_s(photos[0]))
            ratios.append(rate / limit)
            print(
                f"  round {number}: bare {limit:.1f} img/s, classify {rate:.1f}, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
