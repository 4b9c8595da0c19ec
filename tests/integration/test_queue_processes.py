"""The SQLite queue between real processes: wake-ups, sharing, and death at any moment."""

import multiprocessing
import os
import random
import signal
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from beholder.queue import Depth, SqliteQueue

# Processes fork from one that has imported the queue and opened nothing, so that each starts within moments.
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["beholder.queue", "pytest"])

# Between two kills both sides must write down so much: some fifteen messages, of 20 bytes at most each.
PROGRESS_BYTES = 300
# Who writes nothing for so long is not slow but stuck.
STALLED_S = 120.0


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    process = forkserver.Process(target=target, args=arguments)
    process.start()
    return process


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process import this file by its name, as under `python -m pytest`."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


# --- wake-ups -----------------------------------------------------------------------------------------------


def echo_latencies(path: Path, results: Connection) -> None:
    """Receive stamped messages one by one and tell after each how long it took; an empty one ends."""
    with SqliteQueue(path, "work") as queue:
        results.send(None)
        while True:
            (message,) = queue.receive(count_max=1, wait_s=60.0)
            took_s = time.monotonic() - struct.unpack("d", message.body)[0] if message.body else None
            queue.ack([message.receipt])
            results.send(took_s)
            if took_s is None:
                return


def test_a_receiver_in_another_process_is_woken_at_once(path: Path) -> None:
    results, theirs = multiprocessing.Pipe(duplex=False)
    receiver = start(echo_latencies, path, theirs)
    theirs.close()  # so that a receiver that dies ends the wait for its results
    latencies_s = []
    with SqliteQueue(path, "work") as queue:
        results.recv()
        for _ in range(40):
            await_notifier(path)
            queue.send([struct.pack("d", time.monotonic())])
            latencies_s.append(results.recv())
        queue.send([b""])
        assert results.recv() is None
    receiver.join(30)
    # Without notifiers a message would wait for the next look, half a second on average.
    assert statistics.median(latencies_s) < 0.1


def await_notifier(path: Path) -> None:
    """Wait until a receive waits; its notifier may hang for a moment before its owner sleeps."""
    folder = path.with_name(f"{path.name}.notifiers") / "work"
    deadline_s = time.monotonic() + 30
    while not folder.is_dir() or not any(not notifier.name.startswith(".") for notifier in folder.iterdir()):
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.001)


def test_a_lease_that_runs_out_wakes_a_waiting_receiver(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beholder.queue.sqlite._RECHECK_S", 60.0)  # or a look in between finds it
    with SqliteQueue(path, "work") as queue:
        queue.send([b"x"])
        queue.receive(count_max=1, wait_s=0, visibility_timeout_s=0.3)
        began_s = time.monotonic()
        (message,) = queue.receive(count_max=1, wait_s=20.0)
        assert message.receive_count == 2
        assert 0.2 < time.monotonic() - began_s < 10


# --- sharing ------------------------------------------------------------------------------------------------


def drain(path: Path, receivers: int, count: int, results: Connection) -> None:
    """Receive in threads until `count` messages have left the queue, all processes taken together."""
    taken: list[bytes] = []
    with SqliteQueue(path, "work") as queue, SqliteQueue(path, "done") as done:

        def receive() -> None:
            while done.depth().backlog < count:
                for message in queue.receive(count_max=3, wait_s=0.2):
                    taken.append(message.body)
                    done.send([message.body])
                    queue.ack([message.receipt])

        threads = [threading.Thread(target=receive) for _ in range(receivers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    results.send(taken)


def test_64_receivers_in_4_processes_never_share_a_message(path: Path) -> None:
    count = 1_000
    with SqliteQueue(path, "work") as queue, SqliteQueue(path, "done"):
        pipes = [multiprocessing.Pipe(duplex=False) for _ in range(4)]
        processes = [start(drain, path, 16, count, theirs) for _, theirs in pipes]
        for number in range(0, count, 20):
            queue.send([b"%d" % n for n in range(number, number + 20)])
        taken = Counter[bytes]()
        for results, _ in pipes:
            assert results.poll(60)
            taken.update(results.recv())
        for process in processes:
            process.join(30)
        assert taken == Counter(b"%d" % number for number in range(count))
        assert queue.depth() == Depth(0, 0, 0)


# --- death --------------------------------------------------------------------------------------------------


def send_for_ever(path: Path, name: str, journal: Path) -> None:
    """Send numbered messages, and write down each one once it is accepted."""
    with SqliteQueue(path, "work") as queue, journal.open("a", buffering=1) as accepted:
        for number in range(1_000_000_000):
            bodies = [f"{name}.{number}.{part}" for part in range(random.randint(1, 12))]
            queue.send([body.encode() for body in bodies])
            accepted.write("".join(f"{body}\n" for body in bodies))


def receive_for_ever(path: Path, journal: Path) -> None:
    """Receive, write down and ack, in that order, as a worker stores its result before it acks."""
    with SqliteQueue(path, "work", visibility_timeout_s=0.5) as queue, journal.open("a", buffering=1) as seen:
        while True:
            messages = queue.receive(count_max=10, wait_s=1.0)
            seen.write("".join(f"{message.body.decode()}\n" for message in messages))
            queue.ack([message.receipt for message in messages])


def written(folder: Path, role: str) -> int:
    """Return how many bytes the processes of a role have written down."""
    return sum(journal.stat().st_size for journal in folder.glob(f"{role}-*"))


def await_progress(folder: Path, before: dict[str, int]) -> None:
    """Wait until messages have been accepted and received since `before`, however slow the machine is."""
    deadline_s = time.monotonic() + STALLED_S
    while any(written(folder, role) < count + PROGRESS_BYTES for role, count in before.items()):
        assert time.monotonic() < deadline_s, "the survivors of a kill neither sent nor received"
        threading.Event().wait(0.01)


def kill_at_random(path: Path, folder: Path, kills: int) -> None:
    """Keep two writers and two receivers alive while killing one of them after another."""
    journals = iter(range(1_000_000))

    def begin(role: str) -> ForkServerProcess:
        number = next(journals)
        journal = folder / f"{role}-{number}"
        if role == "accepted":
            return start(send_for_ever, path, str(number), journal)
        return start(receive_for_ever, path, journal)

    alive = {begin(role): role for role in ("accepted", "seen", "accepted", "seen")}
    for _ in range(kills):
        await_progress(folder, {role: written(folder, role) for role in ("accepted", "seen")})
        threading.Event().wait(random.uniform(0, 0.3))
        victim = random.choice(list(alive))
        assert victim.is_alive()
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(30)
        role = alive.pop(victim)
        alive[begin(role)] = role
    for process in alive:
        process.kill()
        process.join(30)


def read_whole_lines(folder: Path, role: str) -> list[str]:
    """Return what the processes of a role wrote down; a last line cut off by death does not count."""
    texts = [journal.read_text() for journal in folder.glob(f"{role}-*")]
    return [line for text in texts for line in text[: text.rfind("\n") + 1].splitlines()]


def survive(path: Path, folder: Path, kills: int) -> None:
    kill_at_random(path, folder, kills)
    with SqliteQueue(path, "work") as queue:
        left: list[str] = []
        while True:
            messages = queue.receive(count_max=10, wait_s=1.0)
            if not messages:
                break
            left += [message.body.decode() for message in messages]
            queue.ack([message.receipt for message in messages])
        assert queue.depth() == Depth(0, 0, 0)
        integrity = queue._reader.execute("pragma integrity_check").fetchone()
    accepted, seen = read_whole_lines(folder, "accepted"), read_whole_lines(folder, "seen")
    assert len(accepted) > 100
    assert len(seen) > 100
    assert set(accepted) - set(seen) - set(left) == set()
    assert integrity == ("ok",)


def test_no_accepted_message_is_lost_to_kill_9(path: Path, tmp_path: Path) -> None:
    survive(path, tmp_path, kills=10)


@pytest.mark.slow
def test_no_accepted_message_is_lost_to_a_hundred_kills_9(path: Path, tmp_path: Path) -> None:
    survive(path, tmp_path, kills=100)
