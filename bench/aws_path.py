"""What the AWS path adds to the latency of one image over the embedded one, and where: store, queue, reply.

    python bench/aws_path.py [--images FOLDER] [--count N] [--emulator moto|ministack]

One client sends one image after the other, in turns to `beholder up` with one worker and to a web process and
a worker on an emulator, in the same run. Each job tells when it was created, received and done; what a put
takes is measured beside it against the same emulator, so that the rest is the queue's and the reply's.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from aws.deployment import Deployment
from aws.emulators import REGION, emulator
from beholder.store.folder import FolderStore
from beholder.store.port import Store
from beholder.store.s3 import S3Store
from helpers.service import RunningService

PARTS = ("store", "queue", "work", "reply and HTTP", "whole")


def answer_times(url: str, image: bytes) -> tuple[float, float, float]:
    """Return milliseconds: the whole answer, from creation to receipt, from receipt to result."""
    request = urllib.request.Request(f"{url}/v1/classify", data=image, method="POST")
    started_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as response:
        job = json.load(response)
    whole_ms = (time.perf_counter() - started_s) * 1000
    return whole_ms, job["metrics"]["queue_ms"], job["metrics"]["service_ms"]


def put_ms(store: Store, data: bytes, name: str, *, only_if_absent: bool) -> float:
    started_s = time.perf_counter()
    store.put(f"bench/{name}", data, only_if_absent=only_if_absent)
    return (time.perf_counter() - started_s) * 1000


def measure(url: str, store: Store, image: bytes, number: int) -> dict[str, float]:
    whole_ms, queue_ms, work_ms = answer_times(url, image)
    image_ms = put_ms(store, image, f"{number}.jpg", only_if_absent=False)
    result_ms = put_ms(store, b"x" * 900, f"{number}.json", only_if_absent=True)
    return {
        "store": image_ms + result_ms,
        "queue": queue_ms - image_ms,
        "work": work_ms,
        "reply and HTTP": whole_ms - queue_ms - work_ms - result_ms,
        "whole": whole_ms,
    }


def main() -> None:
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "labelled"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=shared)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--emulator", choices=("moto", "ministack"), default="moto")
    asked = parser.parse_args()
    images = [path.read_bytes() for path in sorted(asked.images.glob("*.JPEG"))]
    aws = emulator(asked.emulator)
    found: dict[str, list[dict[str, float]]] = {"embedded": [], "aws": []}
    with tempfile.TemporaryDirectory(prefix="beholder-bench-") as folder:
        root = Path(folder)
        with (
            RunningService(root / "up", workers=1) as service,
            Deployment(aws, root / "aws") as deployment,
        ):
            web = deployment.start_web()
            deployment.start_worker().await_line(r"worker\.ready")
            bucket = f"{deployment.prefix}-output-bucket"
            stores = {
                "embedded": (service.url, FolderStore(root / "up" / "buckets" / "bench")),
                "aws": (web.url, S3Store(bucket, region=REGION, endpoint=aws.endpoint)),
            }
            for number in range(-5, asked.count):
                for name, (url, store) in stores.items():
                    times = measure(url, store, images[number % len(images)], number + 5)
                    if number >= 0:
                        found[name].append(times)
    report(found, asked.emulator, asked.count)


def report(found: dict[str, list[dict[str, float]]], name: str, count: int) -> None:
    print(f"medians of {count} images, one at a time, in ms; the emulator is {name}")
    print("| part | embedded | AWS path | added |\n|---|---|---|---|")
    for part in PARTS:
        embedded, aws = (statistics.median(one[part] for one in found[kind]) for kind in ("embedded", "aws"))
        print(f"| {part} | {embedded:.1f} | {aws:.1f} | {aws - embedded:+.1f} |")


if __name__ == "__main__":
    main()
