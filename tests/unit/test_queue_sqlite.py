"""What the SQLite queue adds to the contract: many queues in a file, errors, and its files."""

import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beholder.errors import BackendDenied, BackendError, BackendFull, BackendUnavailable, QueueDamaged
from beholder.queue import Depth, Priority, SqliteQueue
from beholder.queue.sqlite import _error_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # Deeper than the 108 bytes that the address of a socket may have.
    return tmp_path / ("deep" * 30) / "data" / "queue.db"


def test_queues_of_one_file_do_not_mix(path: Path) -> None:
    with SqliteQueue(path, "one") as one, SqliteQueue(path, "two") as two:
        one.send([b"1"])
        two.send([b"2"])
        (message,) = one.receive(count_max=10, wait_s=0)
        assert message.body == b"1"
        two.ack([message.receipt])
        assert two.extend([message.receipt], timeout_s=60.0) == [message.receipt]
        assert one.depth() == Depth(0, 1, 0)
        assert two.depth() == Depth(1, 0, 0)


def test_what_was_sent_outlives_its_sender(path: Path) -> None:
    with SqliteQueue(path, "work") as queue:
        queue.send([b"x"])
    with SqliteQueue(path, "work", fsync=True) as queue:
        assert [message.body for message in queue.receive(count_max=1, wait_s=0)] == [b"x"]


def test_many_may_make_the_same_file_at_once(path: Path) -> None:
    together = threading.Barrier(8)

    def make(number: int) -> None:
        together.wait(timeout=30)
        with SqliteQueue(path, "work") as queue:
            queue.send([b"%d" % number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    with SqliteQueue(path, "work") as queue:
        assert queue.depth().backlog == 8


@pytest.mark.parametrize("name", ["", "a/b", "..", "ü", "x" * 81, "a.b", "a\n"])
def test_a_bad_name_is_refused(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="queue name"):
        SqliteQueue(path, name)


def test_bad_numbers_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="dead_letters"):
        SqliteQueue(path, "work", receive_count_max=3)
    with pytest.raises(ValueError, match="at least 1"):
        SqliteQueue(path, "work", receive_count_max=0, dead_letters="dead")
    with pytest.raises(ValueError, match="visibility_timeout_s"):
        SqliteQueue(path, "work", visibility_timeout_s=-1.0)
    with SqliteQueue(path, "work") as queue:
        with pytest.raises(ValueError, match="visibility_timeout_s"):
            queue.receive(count_max=1, wait_s=0, visibility_timeout_s=float("nan"))
        with pytest.raises(ValueError, match="wait_s"):
            queue.receive(count_max=1, wait_s=-1.0)


@pytest.mark.parametrize(
    "receipt", ["", "x", "1", "1-2-3", "-1-1", "9" * 40 + "-1", "1-" + "9" * 40, "\u0661-\u0661"]
)
def test_an_invalid_receipt_holds_nothing(path: Path, receipt: str) -> None:
    with SqliteQueue(path, "work") as queue:
        queue.send([b"x"])
        queue.receive(count_max=1, wait_s=0)
        queue.ack([receipt])
        queue.nack([receipt])
        assert queue.extend([receipt], timeout_s=1.0) == [receipt]
        assert queue.depth().in_flight == 1


def test_a_closed_queue_is_unavailable(path: Path) -> None:
    queue = SqliteQueue(path, "work")
    queue.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        queue.send([b"x"])
    with pytest.raises(BackendUnavailable):
        queue.receive(count_max=1, wait_s=0)


def test_closing_ends_a_waiting_receive(path: Path) -> None:
    with SqliteQueue(path, "work") as queue, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, count_max=1, wait_s=60.0)
        queue.close()
        with pytest.raises(BackendUnavailable):
            waiting.result(timeout=50)


def test_a_file_that_is_no_database_is_damaged(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(QueueDamaged, match="not a database"):
        SqliteQueue(path, "work")


def test_a_file_where_a_folder_should_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError):
        SqliteQueue(tmp_path / "file" / "queue.db", "work")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_FULL, BackendFull),
        (sqlite3.SQLITE_IOERR_WRITE, BackendFull),
        (sqlite3.SQLITE_READONLY, BackendDenied),
        (sqlite3.SQLITE_BUSY, BackendUnavailable),
        (sqlite3.SQLITE_CORRUPT, QueueDamaged),
        (sqlite3.SQLITE_NOTADB, QueueDamaged),
        (None, BackendUnavailable),
    ],
)
def test_errors_are_sorted_by_who_must_act(code: int | None, error: type[BackendError]) -> None:
    exc = sqlite3.OperationalError("as SQLite says")
    if code is not None:
        exc.sqlite_errorcode = code
    assert _error_for(exc, "send") is error


def test_what_cannot_be_stored_leaves_nothing(path: Path) -> None:
    with SqliteQueue(path, "work") as queue:
        queue._writer.run(lambda db: db.execute("pragma max_page_count = 1"))
        with pytest.raises(BackendFull):
            queue.send([b"x", bytes(1_000_000)])
        assert queue.depth() == Depth(0, 0, 0)
        queue._writer.run(lambda db: db.execute("pragma max_page_count = 1000000"))
        queue.send([b"x"])
        assert queue.depth().backlog == 1


def test_one_sender_too_many_does_not_fail_the_others(path: Path) -> None:
    with SqliteQueue(path, "work") as queue:
        queue._writer.run(lambda db: db.execute("pragma max_page_count = 100"))

        def send(number: int) -> bool:
            try:
                queue.send([bytes(2_000_000) if number % 4 == 0 else b"small"])
            except BackendFull:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(send, range(64)))
        assert outcomes == [number % 4 != 0 for number in range(64)]
        assert queue.depth().backlog == 48


def test_an_idle_poll_takes_no_lock(path: Path) -> None:
    with SqliteQueue(path, "work") as queue, queue._lock:
        began_s = time.monotonic()
        assert queue.receive(count_max=1, wait_s=0) == []
        assert queue.depth() == Depth(0, 0, 0)
        assert time.monotonic() - began_s < 5.0


def test_no_notifier_is_left_behind(path: Path) -> None:
    with SqliteQueue(path, "work") as queue:
        assert queue.receive(count_max=1, wait_s=0.01) == []
        assert list(path.with_name("queue.db.notifiers").rglob("*/*")) == []
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.receive, count_max=1, wait_s=30.0)
            queue.send([b"x"])
            assert len(waiting.result()) == 1


def test_room_is_used_again(path: Path) -> None:
    with SqliteQueue(path, "work") as queue:
        sizes = []
        for _ in range(8):
            for _ in range(40):
                queue.send([os.urandom(50_000)] * 10)
                queue.ack([message.receipt for message in queue.receive(count_max=10, wait_s=0)])
            sizes.append(sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file()))
        assert sizes[-1] < 40_000_000, sizes
        assert sizes[-1] <= sizes[1], sizes


def test_a_file_of_an_earlier_version_is_taken_over_with_all_that_waits_in_it(path: Path) -> None:
    # given: the tables as they were before there were classes, with one message that waits and one in flight
    path.parent.mkdir(parents=True)
    db = sqlite3.connect(path)
    db.executescript(
        """
        create table message(id integer primary key, queue text not null, visible_at_s real not null,
          receive_count integer not null default 0, token integer, body blob not null);
        create index message_by_time on message(queue, visible_at_s);
        insert into message(queue, visible_at_s, body) values('work', 0, x'61');
        insert into message(queue, visible_at_s, receive_count, token, body) values('work', 9e9, 1, 7, x'62');
        """
    )
    db.close()
    # when: it is opened twice, since the second time there is nothing to do
    for _ in range(2):
        with SqliteQueue(path, "work") as queue:
            assert queue.depth() == Depth(backlog=1, in_flight=1, delayed=0)
    # then
    with SqliteQueue(path, "work") as queue:
        queue.send([b"new"], priority=Priority.INTERACTIVE)
        found = queue.receive(count_max=10, wait_s=0)
        assert [(one.body, one.receive_count) for one in found] == [(b"new", 1), (b"a", 1)]
        assert queue.extend(["2-7"], timeout_s=60.0) == []


@pytest.mark.slow
def test_a_receive_reads_as_much_of_a_long_backlog_as_of_a_short_one(path: Path) -> None:
    """Counted in the steps of SQLite's machine, so no other work on this computer shows."""
    steps: dict[int, int] = {}
    with SqliteQueue(path, "work", heavy_in_flight_max=1) as queue:
        for count in (100, 100_000):
            for priority in range(4):
                queue.send([b"x"] * (count // 4), priority=Priority(priority))
            counted = 0

            def step() -> int:
                nonlocal counted
                counted += 1
                return 0

            queue._writer._connection.set_progress_handler(step, 1)
            queue._reader.set_progress_handler(step, 1)
            for _ in range(20):
                queue.ack([one.receipt for one in queue.receive(count_max=4, wait_s=0)])
            queue._writer._connection.set_progress_handler(None, 0)
            queue._reader.set_progress_handler(None, 0)
            steps[count] = counted
    assert steps[100_000] < steps[100] * 1.5
