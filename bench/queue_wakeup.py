"""Measure the SQLite queue: wake-up latency across processes, and the rates of one core.

python bench/queue_wakeup.py [--wakeups 300] [--messages 20000]
"""

import argparse
import multiprocessing
import statistics
import struct
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from beholder.queue import SqliteQueue

BODY = b"x" * 300


def receive_stamps(path: Path, count: int, results: Connection) -> None:
    """Receive messages that hold their time of sending; send back how long each took, in seconds."""
    with SqliteQueue(path, "bench") as queue:
        latencies_s = []
        while len(latencies_s) < count:
            for message in queue.receive(count_max=1, wait_s=20.0):
                latencies_s.append(time.monotonic() - struct.unpack("d", message.body)[0])
                queue.ack([message.receipt])
        results.send(latencies_s)


def wakeups(path: Path, count: int, *, fsync: bool) -> list[float]:
    """Send one message at a time to a process that waits; return the latencies, best first, in ms."""
    results, theirs = multiprocessing.Pipe(duplex=False)
    receiver = multiprocessing.get_context("spawn").Process(target=receive_stamps, args=(path, count, theirs))
    receiver.start()
    with SqliteQueue(path, "bench", fsync=fsync) as queue:
        time.sleep(1.0)
        for _ in range(count):
            queue.send([struct.pack("d", time.monotonic())])
            time.sleep(0.01)
    latencies_s: list[float] = results.recv()
    receiver.join()
    return sorted(latency_s * 1000 for latency_s in latencies_s)


def rate(count: int, began_s: float) -> str:
    """Return messages a second since `began_s`."""
    return f"{count / (time.perf_counter() - began_s):8,.0f}/s"


def rates(path: Path, count: int, *, fsync: bool) -> None:
    """Print what one process sends and receives in a second."""
    with SqliteQueue(path, "rates", fsync=fsync) as queue:
        began_s = time.perf_counter()
        for _ in range(count // 10):
            queue.send([BODY] * 10)
        print("  send, ten at once        ", rate(count, began_s))
        began_s = time.perf_counter()
        for _ in range(count // 2):
            queue.ack([message.receipt for message in queue.receive(count_max=1, wait_s=0)])
        print("  receive + ack, one by one", rate(count // 2, began_s))
        began_s = time.perf_counter()
        for _ in range(count // 20):
            queue.ack([message.receipt for message in queue.receive(count_max=10, wait_s=0)])
        print("  receive + ack, by ten    ", rate(count // 2, began_s))
        began_s = time.perf_counter()
        for _ in range(count // 4):
            queue.send([BODY])
        print("  send, one by one         ", rate(count // 4, began_s))
        with ThreadPoolExecutor(16) as pool:
            began_s = time.perf_counter()
            list(pool.map(lambda _: queue.send([BODY]), range(count // 4)))
            print("  send, from 16 threads    ", rate(count // 4, began_s))


def main() -> None:
    """Run all of it on a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wakeups", type=int, default=300)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the database lies; default a temporary"
    )
    arguments = parser.parse_args()
    for fsync in (False, True):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            print(f"fsync={fsync}")
            latencies_ms = wakeups(Path(folder) / "wake.db", arguments.wakeups, fsync=fsync)
            p50_ms, p99_ms = statistics.median(latencies_ms), latencies_ms[int(len(latencies_ms) * 0.99)]
            print(f"  wake-up across processes  p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms")
            rates(Path(folder) / "rates.db", arguments.messages // (10 if fsync else 1), fsync=fsync)


if __name__ == "__main__":
    main()
