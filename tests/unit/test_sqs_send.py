"""Sends to SQS, cut into batches."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import pytest

from beholder.errors import BackendDenied, BackendError, BackendThrottled
from beholder.queue.sqs import SqsQueue
from beholder.queue.sqs_batches import send_batches


class Service:
    """Takes batches, and can be told to refuse some of their entries."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.bad: dict[str, type[BackendError]] = {}

    def call(self, *_: str, **__: object) -> Mapping[str, Any]:
        return {"Attributes": {"MaximumMessageSize": "1000000"}}

    def batch(
        self, operation: str, _action: str, _url: str, entries: Sequence[Mapping[str, Any]]
    ) -> list[BackendError | None]:
        names = [one["MessageBody"] for one in entries]
        self.batches.append(names)
        return [self.bad[name]("sqs queue", operation) if name in self.bad else None for name in names]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def queue(service: Service) -> SqsQueue:
    return SqsQueue("https://sqs.example/1/zoo", client=service)  # type: ignore[arg-type]


def test_a_lone_send_goes_at_once(queue: SqsQueue, service: Service) -> None:
    queue.send([b"a"])
    assert service.batches == [["a"]]


def test_a_long_send_is_cut_into_tens_in_order(queue: SqsQueue, service: Service) -> None:
    queue.send([b"%d" % number for number in range(25)])
    assert [len(batch) for batch in service.batches] == [10, 10, 5]
    assert list(chain.from_iterable(service.batches)) == [f"{number}" for number in range(25)]


def test_no_batch_is_over_a_mebibyte(queue: SqsQueue, service: Service) -> None:
    queue.send([name * 400_000 for name in (b"a", b"b", b"c", b"d", b"e")])
    assert [[one[0] for one in batch] for batch in service.batches] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_message_that_has_no_room_opens_another_batch() -> None:
    sizes = [("a", 600_000), ("b", 100), *[(f"{number}", 100_000) for number in range(10)]]
    batches = send_batches([({"MessageBody": name}, size_bytes) for name, size_bytes in sizes])
    names = [[one["MessageBody"] for one in batch] for batch in batches]
    assert names == [["a", "b", "0", "1", "2", "3"], ["4", "5", "6", "7", "8", "9"]]


@pytest.mark.parametrize("error", [BackendDenied, BackendThrottled])
def test_an_entry_that_fails_fails_the_send(
    queue: SqsQueue, service: Service, error: type[BackendError]
) -> None:
    service.bad = {"bad": error}
    with pytest.raises(error):
        queue.send([b"good", b"bad"])
    queue.send([b"good"])


def test_what_comes_after_a_batch_that_failed_is_not_sent(queue: SqsQueue, service: Service) -> None:
    service.bad = {"3": BackendDenied}
    with pytest.raises(BackendDenied):
        queue.send([b"%d" % number for number in range(25)])
    assert len(service.batches) == 1
