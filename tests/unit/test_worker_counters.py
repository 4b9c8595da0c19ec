"""A worker reports each call once, whatever becomes of a reply."""

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


def reported(rig: Rig, name: str = "web-0") -> list[Mapping[str, int]]:
    return [Reply.from_bytes(one.body).calls for one in take_all(rig.replies[name])]


def test_each_call_is_reported_once() -> None:
    calls = {"s3:GetObject": 2}
    unreported = UnreportedCounters(lambda: calls)
    assert unreported.take() == {"s3:GetObject": 2}
    assert unreported.take() == {}
    calls |= {"s3:GetObject": 3, "s3:PutObject": 1}
    assert unreported.take() == {"s3:GetObject": 1, "s3:PutObject": 1}


def test_calls_whose_report_failed_are_reported_later() -> None:
    calls = {"s3:GetObject": 2}
    unreported = UnreportedCounters(lambda: calls)
    unreported.put_back(unreported.take())
    calls["s3:GetObject"] = 5
    assert unreported.take() == {"s3:GetObject": 5}


def test_consumers_that_report_at_once_report_each_call_once() -> None:
    unreported = UnreportedCounters(lambda: {"s3:GetObject": 1000})
    taken: list[Mapping[str, int]] = []
    threads = [threading.Thread(target=lambda: taken.append(unreported.take())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(map(len, taken)) == [0] * 7 + [1]


def test_one_reply_of_a_batch_reports_the_calls(rig: Rig) -> None:
    calls = {"s3:GetObject": 2}
    worker = rig.begun(unreported=UnreportedCounters(lambda: calls))
    for name in ("web-0", "web-1", "web-0"):
        rig.send(b"cat", reply_to=name)
    worker.tick()
    assert [reported(rig), reported(rig, "web-1")] == [[{"s3:GetObject": 2}], [{}]]
    calls["s3:GetObject"] = 7
    rig.send(b"cat")
    worker.tick()
    assert reported(rig) == [{"s3:GetObject": 5}]


def test_calls_are_not_lost_with_a_reply(rig: Rig) -> None:
    worker = rig.begun(unreported=UnreportedCounters(lambda: {"s3:GetObject": 2}))
    rig.send(b"cat")
    rig.recorder.failures["replies.send"] = BackendUnavailable("sqs queue", "send")
    worker.tick()
    rig.recorder.failures.clear()
    rig.send(b"dog")
    worker.tick()
    assert reported(rig) == [{"s3:GetObject": 2}]


def test_a_batch_without_replies_leaves_the_calls_to_the_next(rig: Rig) -> None:
    worker = rig.begun(unreported=UnreportedCounters(lambda: {"s3:GetObject": 2}))
    rig.send(b"cat", reply_to=None)
    worker.tick()
    rig.send(b"dog")
    worker.tick()
    assert reported(rig) == [{"s3:GetObject": 2}]
