"""Sends that share batches."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from beholder.errors import BackendDenied, BackendThrottled, BackendUnavailable
from beholder.queue.sqs_sender import BatchSender, Entry


def entry(name: str, size_bytes: int = 100) -> Entry:
    return Entry({"MessageBody": name}, size_bytes)


class Service:
    """Takes batches, and can be told to hold them or to refuse some of their entries."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.is_called = threading.Event()
        self.bad: dict[str, type[BackendDenied | BackendThrottled]] = {}

    def __call__(self, entries: Sequence[Entry]) -> None:
        self.batches.append([one.parameters["MessageBody"] for one in entries])
        self.is_called.set()
        self.goes_on.wait(10)
        for one in entries:
            error = self.bad.get(one.parameters["MessageBody"])
            one.error = error("sqs queue", "send") if error else None
            one.is_sent = error is None


def test_a_lone_send_goes_at_once() -> None:
    service = Service()
    BatchSender(service, gather_s=3600).send([entry("a")])
    assert service.batches == [["a"]]


def test_a_long_send_is_cut_into_tens_in_order() -> None:
    service = Service()
    BatchSender(service, gather_s=0).send([entry(f"{number}") for number in range(25)])
    assert [len(batch) for batch in service.batches] == [10, 10, 5]
    assert list(chain.from_iterable(service.batches)) == [f"{number}" for number in range(25)]


def test_no_batch_is_over_a_mebibyte() -> None:
    service = Service()
    BatchSender(service, gather_s=0).send([entry(name, 400_000) for name in "abcde"])
    assert service.batches == [["a", "b"], ["c", "d"], ["e"]]


def test_sends_that_come_while_one_is_under_way_share_a_batch() -> None:
    service = Service()
    service.goes_on.clear()
    sender = BatchSender(service, gather_s=10)
    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(sender.send, [entry("first")])
        assert service.is_called.wait(10)
        others = [pool.submit(sender.send, [entry(f"{number}")]) for number in range(10)]
        while len(service.batches) < 2:  # ten fill it, long before its ten seconds
            threading.Event().wait(0.001)
        service.goes_on.set()
        for one in (first, *others):
            one.result(10)
    assert sorted(service.batches[1]) == [f"{number}" for number in range(10)]
    assert len(service.batches) == 2


def test_a_batch_that_has_no_room_leaves_and_another_opens() -> None:
    service = Service()
    service.goes_on.clear()
    sender = BatchSender(service, gather_s=10)
    with ThreadPoolExecutor(3) as pool:
        sends = [pool.submit(sender.send, [entry("first")])]
        assert service.is_called.wait(10)
        sends.append(pool.submit(sender.send, [entry("a", 600_000), entry("b")]))
        while sender._open is None:
            threading.Event().wait(0.001)
        sends.append(pool.submit(sender.send, [entry(f"{n}", 100_000) for n in range(10)]))
        while len(service.batches) < 3:
            threading.Event().wait(0.001)
        service.goes_on.set()
        for one in sends:
            one.result(10)
    assert service.batches[0] == ["first"]
    assert sorted(batch[0] for batch in service.batches[1:]) == ["0", "a"]


def test_each_thread_learns_of_its_own_entries_only() -> None:
    service = Service()
    service.goes_on.clear()
    service.bad = {"bad": BackendDenied, "late": BackendThrottled}
    sender = BatchSender(service, gather_s=0.2)
    with ThreadPoolExecutor(4) as pool:
        sends = {"first": pool.submit(sender.send, [entry("first")])}
        assert service.is_called.wait(10)
        for name in ("bad", "good", "late"):
            sends[name] = pool.submit(sender.send, [entry(name)])
        while sum(len(batch) for batch in service.batches) < 4:
            threading.Event().wait(0.001)
        service.goes_on.set()
        errors = {name: type(one.exception(10)) for name, one in sends.items()}
    assert errors == {
        "first": type(None),
        "good": type(None),
        "bad": BackendDenied,
        "late": BackendThrottled,
    }


def test_what_comes_after_a_batch_that_failed_is_not_sent() -> None:
    service = Service()
    service.bad = {"3": BackendDenied}
    with pytest.raises(BackendDenied):
        BatchSender(service, gather_s=0).send([entry(f"{number}") for number in range(25)])
    assert len(service.batches) == 1


def test_who_shares_a_batch_with_an_interrupted_thread_is_told() -> None:
    is_called, goes_on = threading.Event(), threading.Event()

    def interrupted(entries: Sequence[Entry]) -> None:
        if is_called.is_set():
            raise KeyboardInterrupt
        is_called.set()
        goes_on.wait(10)
        for one in entries:
            one.is_sent = True

    sender = BatchSender(interrupted, gather_s=10)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(sender.send, [entry("first")])
        assert is_called.wait(10)
        leader = pool.submit(sender.send, [entry("leader")])
        while sender._open is None:
            threading.Event().wait(0.001)
        follower = pool.submit(sender.send, [entry(f"{number}") for number in range(9)])
        assert isinstance(leader.exception(10), KeyboardInterrupt)
        assert isinstance(follower.exception(10), BackendUnavailable)
        goes_on.set()
        first.result(10)
