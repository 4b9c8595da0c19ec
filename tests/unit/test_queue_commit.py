"""Group commit: leaders, followers, and which thread an error reaches."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beholder.file_lock import FileLock
from beholder.queue.commit import GroupCommit


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("create table t(x integer)")
    yield connection
    connection.close()


@pytest.fixture
def group(connection: sqlite3.Connection, lock: FileLock) -> GroupCommit:
    return GroupCommit(connection, lock)


def insert(number: int, db: sqlite3.Connection) -> int:
    return db.execute("insert into t values(?)", (number,)).rowcount


def test_work_that_comes_together_is_committed_together(
    group: GroupCommit, connection: sqlite3.Connection, lock: FileLock, tmp_path: Path
) -> None:
    commits: list[str] = []
    connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "commit" else None)
    # given a leader that waits for the lock, so that the others gather behind it
    other = FileLock(tmp_path / "lock")
    with ThreadPoolExecutor(9) as pool:
        with other:
            tasks = [pool.submit(group.run, lambda db, n=n: insert(n, db)) for n in range(9)]
            while len(group._pending) < 8:
                threading.Event().wait(0.001)
        # when it goes on, then two transactions are enough for all
        assert [task.result() for task in tasks] == [1] * 9
    other.close()
    assert len(commits) == 2
    assert connection.execute("select count(*) from t").fetchone() == (9,)


def test_an_error_reaches_the_thread_that_caused_it(group: GroupCommit, tmp_path: Path) -> None:
    other = FileLock(tmp_path / "lock")

    def fail(db: sqlite3.Connection) -> int:
        insert(99, db)
        db.execute("insert into missing values(1)")
        return 0

    with ThreadPoolExecutor(5) as pool:
        with other:
            good = [pool.submit(group.run, lambda db, n=n: insert(n, db)) for n in range(4)]
            bad = pool.submit(group.run, fail)
            while len(group._pending) < 4:
                threading.Event().wait(0.001)
        assert [task.result() for task in good] == [1] * 4
        with pytest.raises(sqlite3.OperationalError, match="missing"):
            bad.result()
    other.close()
    kept = group.run(lambda db: db.execute("select x from t order by x").fetchall())
    assert kept == [(0,), (1,), (2,), (3,)]


def test_a_bug_in_one_piece_of_work_blocks_no_other(group: GroupCommit) -> None:
    def fail(db: sqlite3.Connection) -> None:
        insert(99, db)
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        group.run(fail)
    assert group.run(lambda db: insert(1, db)) == 1
    assert group.run(lambda db: db.execute("select x from t").fetchall()) == [(1,)]


def test_closed_is_closed(group: GroupCommit) -> None:
    group.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        group.run(lambda db: insert(1, db))
