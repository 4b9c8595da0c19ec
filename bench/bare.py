"""The limit of this machine: processes that decode and classify in a bare loop, with no server around them.

    BENCH_MODEL=MODEL.onnx BENCH_PRECISION=f32 python bench/bare.py FOLDER PROCESSES SECONDS

prints one JSON object: images per second of all processes together, and the milliseconds of one image at the
median and at the 99th percentile.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

from handler import Handler


def loop(
    images: list[bytes], seconds: float, results: multiprocessing.Queue, start: multiprocessing.Event
) -> None:
    handler = Handler(os.environ["BENCH_MODEL"], os.environ["BENCH_PRECISION"])
    handler(images[0])
    results.put(None)
    start.wait()
    times_s = []
    begin_s = last_s = time.perf_counter()
    while last_s - begin_s < seconds:
        handler(images[len(times_s) % len(images)])
        now_s = time.perf_counter()
        times_s.append(now_s - last_s)
        last_s = now_s
    p50_s, p99_s = statistics.median(times_s), statistics.quantiles(times_s, n=100)[98]
    results.put((len(times_s) / (last_s - begin_s), p50_s * 1000, p99_s * 1000))


def main() -> None:
    folder, processes, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    images = [
        path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")
    ]
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Event()
    running = [context.Process(target=loop, args=(images, seconds, results, start)) for _ in range(processes)]
    for process in running:
        process.start()
    for _ in running:
        results.get()
    start.set()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    print(
        json.dumps(
            {"images_per_s": sum(rate for rate, *_ in found), "ms_p50": found[0][1], "ms_p99": found[0][2]}
        )
    )


if __name__ == "__main__":
    main()
