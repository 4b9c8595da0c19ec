"""What a worker called is told once, whatever becomes of a reply."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable
from beholder.job.reply import Reply
from beholder.results.counters import UnreportedCounters
from helpers.rig import Rig, take_all


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def told(rig: Rig, name: str = "web-0") -> list[Mapping[str, int]]:
    return [Reply.from_bytes(one.body).calls for one in take_all(rig.replies[name])]


def test_each_call_is_told_once() -> None:
    calls = {"s3:GetObject": 2}
    unreported = UnreportedCounters(lambda: calls)
    assert unreported.take() == {"s3:GetObject": 2}
    assert unreported.take() == {}
    calls |= {"s3:GetObject": 3, "s3:PutObject": 1}
    assert unreported.take() == {"s3:GetObject": 1, "s3:PutObject": 1}


def test_what_could_not_be_told_is_told_later() -> None:
    calls = {"s3:GetObject": 2}
    unreported = UnreportedCounters(lambda: calls)
    unreported.put_back(unreported.take())
    calls["s3:GetObject"] = 5
    assert unreported.take() == {"s3:GetObject": 5}


def test_consumers_that_tell_at_once_tell_each_call_once() -> None:
    unreported = UnreportedCounters(lambda: {"s3:GetObject": 1000})
    taken: list[Mapping[str, int]] = []
    threads = [threading.Thread(target=lambda: taken.append(unreported.take())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(map(len, taken)) == [0] * 7 + [1]


def test_one_reply_of_a_batch_tells_of_the_calls(rig: Rig) -> None:
    calls = {"s3:GetObject": 2}
    worker = rig.begun(calls=lambda: calls)
    for name in ("web-0", "web-1", "web-0"):
        rig.send(b"cat", reply_to=name)
    worker.tick()
    assert [told(rig), told(rig, "web-1")] == [[{"s3:GetObject": 2}], [{}]]
    calls["s3:GetObject"] = 7
    rig.send(b"cat")
    worker.tick()
    assert told(rig) == [{"s3:GetObject": 5}]


def test_calls_are_not_lost_with_a_reply(rig: Rig) -> None:
    worker = rig.begun(calls=lambda: {"s3:GetObject": 2})
    rig.send(b"cat")
    rig.journal.failures["replies.send"] = BackendUnavailable("sqs queue", "send")
    worker.tick()
    rig.journal.failures.clear()
    rig.send(b"dog")
    worker.tick()
    assert told(rig) == [{"s3:GetObject": 2}]


def test_a_batch_that_nobody_waits_for_leaves_the_calls_to_the_next(rig: Rig) -> None:
    worker = rig.begun(calls=lambda: {"s3:GetObject": 2})
    rig.send(b"cat", reply_to=None)
    worker.tick()
    rig.send(b"dog")
    worker.tick()
    assert told(rig) == [{"s3:GetObject": 2}]
