"""How often what a waiting job was told came true: bursts of images, each job asked for until it is done.

Start `beholder up` first, then: python bench/estimates.py http://127.0.0.1:8080 PHOTO… [--bursts 12]
"""

import argparse
import json
import random
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

_POLL_S = 0.5


def ask(url: str, data: bytes | None = None, **headers: str) -> dict[str, Any]:
    """Return the document that a request is answered with."""
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def burst(url: str, photos: list[bytes], count: int, told: list[tuple[float, float, float, float]]) -> None:
    """Send images at once, and add what their jobs were told first, and how long they then took."""
    form = {"content-type": "application/octet-stream", "prefer": "respond-async"}
    ids = [ask(f"{url}/v1/classify", random.choice(photos), **form)["id"] for _ in range(count)]
    first: dict[str, tuple[float, dict[str, Any]]] = {}
    while ids:
        for job_id in random.sample(ids, len(ids)):
            asked_at_s = time.time()
            job = ask(f"{url}/v1/jobs/{job_id}")
            if "estimate" in job:
                first.setdefault(job_id, (asked_at_s, job["estimate"]))
                continue
            ids.remove(job_id)
            if job_id in first:
                at_s, one = first[job_id]
                done_s = time.time() if job["completed_at"] is None else _seconds(job["completed_at"])
                told.append((one["eta_from_s"], one["eta_s"], one["eta_until_s"], done_s - at_s))
        time.sleep(_POLL_S)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--bursts", type=int, default=12)
    options = parser.parse_args()
    photos = [one.read_bytes() for one in options.photos]
    told: list[tuple[float, float, float, float]] = []
    for number in range(options.bursts):
        burst(options.url, photos, random.choice((1, 5, 40, 150)), told)
        inside = sum(low <= took_s <= high for low, _, high, took_s in told)
        print(f"{number + 1} bursts: {inside} of {len(told)} inside", flush=True)
        time.sleep(random.uniform(0, 5))
    widths = sorted(high - low for low, _, high, _ in told)
    print(f"half of the intervals are shorter than {widths[len(widths) // 2]:.1f} s")


if __name__ == "__main__":
    main()
