"""How long one caller waits beside others: a bulk client of asynchronous jobs, and eight huge images.

Start `beholder up` first, then: python bench/fairness.py http://127.0.0.1:8080 [--seconds 40]
"""

import argparse
import io
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

from PIL import Image


def classify(url: str, data: bytes, **headers: str) -> tuple[int, float, str]:
    """Send one image; return the status, the seconds it took, and its Retry-After."""
    named = {"content-type": "application/octet-stream", **headers}
    request = urllib.request.Request(f"{url}/v1/classify", data, named)
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            status, retry = answer.status, answer.headers.get("retry-after", "-")
            answer.read()
    except urllib.error.HTTPError as exc:
        status, retry = exc.code, exc.headers.get("retry-after", "-")
    return status, time.monotonic() - began_s, retry


def beside_bulk(url: str, photo: bytes, *, seconds: float, connections: int) -> None:
    """Send one photo after the other while a bulk client sends as fast as it is let."""
    over = threading.Event()
    statuses: list[int] = []

    def send() -> None:
        while not over.is_set():
            statuses.append(classify(url, photo, prefer="respond-async")[0])

    with ThreadPoolExecutor(connections) as pool:
        for _ in range(connections):
            pool.submit(send)
        time.sleep(seconds / 2)
        mine = []
        until_s = time.monotonic() + seconds / 2
        while time.monotonic() < until_s:
            mine.append(classify(url, photo))
        over.set()
    answered = sorted(took_s for status, took_s, _ in mine if status == HTTPStatus.OK)
    middle_s, slowest_s = (answered[len(answered) // 2], answered[-1]) if answered else (0.0, 0.0)
    print(
        f"beside bulk: {len(answered)} interactive answered, {len(mine) - len(answered)} not, "
        f"median {middle_s:.2f} s, slowest {slowest_s:.2f} s; "
        f"bulk: {statuses.count(202)} accepted, {statuses.count(503)} refused"
    )


def beside_huge(url: str, photo: bytes) -> None:
    """Send a small photo while eight images of 64 million pixels are under way."""
    file = io.BytesIO()
    Image.effect_noise((1000, 1000), 60).resize((8000, 8000), Image.Resampling.NEAREST).save(file, "PNG")
    with ThreadPoolExecutor(8) as pool:
        huge = [pool.submit(classify, url, file.getvalue()) for _ in range(8)]
        time.sleep(1.0)
        status, took_s, _ = classify(url, photo)
        done = sum(one.done() for one in huge)
        all_s = max(one.result()[1] for one in huge)
    print(
        f"beside huge images: {status} after {took_s:.2f} s, {done} of 8 huge ones done by then, "
        f"all of them after {all_s:.1f} s"
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--photo", default="samples/cat.jpg")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--connections", type=int, default=4)
    args = parser.parse_args()
    photo = Path(args.photo).read_bytes()
    classify(args.url, photo)
    beside_huge(args.url, photo)
    beside_bulk(args.url, photo, seconds=args.seconds, connections=args.connections)


if __name__ == "__main__":
    main()
