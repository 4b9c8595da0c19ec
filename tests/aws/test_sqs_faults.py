"""What SQS and the network may do to a call: a retry that succeeds, or the error that says why."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from aws.faulty import Fault, FaultyProxy, entries_failed, lost_reply, reset, sqs_error, stall
from beholder.errors import BackendDenied, BackendError, BackendThrottled, BackendUnavailable
from beholder.job import Job, JobStatus, Options
from beholder.queue.port import Priority
from beholder.web.submission.batcher import Batcher
from beholder.web.submission.submitter import SubmissionRequest

pytestmark = pytest.mark.aws

_ACTIONS = {
    "send": "SendMessageBatch",
    "receive": "ReceiveMessage",
    "extend": "ChangeMessageVisibilityBatch",
    "nack": "ChangeMessageVisibilityBatch",
    "ack": "DeleteMessageBatch",
    "depth": "GetQueueAttributes",
}
_PASSING: dict[str, Fault] = {
    "500": sqs_error(500, "InternalFailure"),
    "503": sqs_error(503, "ServiceUnavailable"),
    "throttled": sqs_error(400, "ThrottlingException"),
    "reset": reset,
    "time-out": stall(1.5),
}
_THROTTLED = sqs_error(403, "RequestThrottled", "RequestThrottled")


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


@pytest.fixture
def proxy(aws: Emulator) -> Iterator[FaultyProxy]:
    with FaultyProxy(aws.endpoint) as proxy:
        yield proxy


@pytest.fixture
def open_queue(aws: Emulator, proxy: FaultyProxy) -> Iterator[Callable[..., Any]]:
    from beholder.queue.sqs import SqsQueue  # noqa: PLC0415 -- only where the emulator is
    from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415

    opened: list[SqsQueue] = []

    def open_one(url: str = "", **settings: Any) -> SqsQueue:
        url = url or aws.make_queue(VisibilityTimeout="600")
        client = SqsClient(region=REGION, endpoint=proxy.endpoint, timeout_s=1.0, attempts_max=2)
        opened.append(SqsQueue(url, client=client, **settings))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


def _do(queue: Any, operation: str, receipt: str = "none") -> object:
    calls: dict[str, Callable[[], object]] = {
        "send": lambda: queue.send([b"x"]),
        "receive": lambda: queue.receive(count_max=1, wait_s=0),
        "extend": lambda: queue.extend([receipt], timeout_s=60.0),
        "nack": lambda: queue.nack([receipt]),
        "ack": lambda: queue.ack([receipt]),
        "depth": queue.depth,
    }
    return calls[operation]()


@pytest.mark.parametrize("fault", _PASSING)
@pytest.mark.parametrize("operation", _ACTIONS)
def test_a_passing_error_is_tried_again(
    open_queue: Callable[..., Any], proxy: FaultyProxy, operation: str, fault: str
) -> None:
    queue = open_queue()
    queue.send([b"held"])
    (held,) = queue.receive(count_max=1, wait_s=5.0)
    before = queue._client.calls
    proxy.inject(_ACTIONS[operation], _PASSING[fault])
    _do(queue, operation, held.receipt)
    assert proxy.is_spent
    sent = {action: count - before.get(action, 0) for action, count in queue._client.calls.items()}
    assert sent[_ACTIONS[operation]] == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (_THROTTLED, BackendThrottled),
        (sqs_error(400, "ThrottlingException"), BackendThrottled),
        (sqs_error(500, "InternalFailure"), BackendUnavailable),
        (reset, BackendUnavailable),
    ],
    ids=["throttled", "throttling", "500", "reset"],
)
@pytest.mark.parametrize("operation", _ACTIONS)
def test_a_lasting_error_is_told_apart(
    open_queue: Callable[..., Any],
    proxy: FaultyProxy,
    operation: str,
    fault: Fault,
    error: type[BackendError],
) -> None:
    queue = open_queue()
    queue.send([b"x"])  # which also reads the queue's limit
    proxy.inject(_ACTIONS[operation], fault, fault)
    with pytest.raises(error) as caught:
        _do(queue, operation)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "AccessDeniedException"),
        (403, "ExpiredToken"),
        (403, "InvalidClientTokenId"),
        (403, "SignatureDoesNotMatch"),
        (400, "QueueDoesNotExist"),
    ],
)
@pytest.mark.parametrize("operation", _ACTIONS)
def test_a_refusal_is_not_tried_again(
    open_queue: Callable[..., Any], proxy: FaultyProxy, operation: str, status: int, code: str
) -> None:
    queue = open_queue()
    queue.send([b"x"])
    before = len(proxy.seen)
    proxy.inject(_ACTIONS[operation], sqs_error(status, code))
    with pytest.raises(BackendDenied, match=code):
        _do(queue, operation)
    assert proxy.seen[before:] == [_ACTIONS[operation]]


@pytest.mark.parametrize("code", ["KmsDisabled", "KmsInvalidState", "KmsAccessDenied"])
def test_a_key_of_kms_that_cannot_be_used_is_the_queue_s_trouble(
    open_queue: Callable[..., Any], proxy: FaultyProxy, code: str
) -> None:
    queue = open_queue()
    queue.send([b"x"])
    proxy.inject(_ACTIONS["send"], sqs_error(400, code))
    with pytest.raises(BackendUnavailable):
        _do(queue, "send")


@pytest.mark.parametrize("operation", _ACTIONS)
def test_a_queue_deleted_under_us_is_a_refusal(
    aws: Emulator, open_queue: Callable[..., Any], operation: str
) -> None:
    url = aws.make_queue()
    queue = open_queue(url)
    queue.send([b"x"])
    aws.client("sqs").delete_queue(QueueUrl=url)
    with pytest.raises(BackendDenied):
        _do(queue, operation)


def test_a_name_that_no_queue_has_is_a_refusal(open_queue: Callable[..., Any]) -> None:
    with pytest.raises(BackendDenied):
        open_queue("no-such-queue").depth()


# --- batches that fail in part ------------------------------------------------------------------------------


def test_entries_that_sqs_could_not_take_are_sent_again_alone(
    open_queue: Callable[..., Any], proxy: FaultyProxy
) -> None:
    queue = open_queue()
    bodies = [b"%d" % number for number in range(10)]
    failed = entries_failed({"3", "7"}, "InternalError", is_sender_fault=False)
    proxy.inject("SendMessageBatch", failed, failed)
    queue.send(bodies)
    assert proxy.is_spent
    assert sorted(_drained(queue, 10)) == sorted(bodies)


def test_an_entry_that_is_wrong_itself_raises_and_the_others_are_sent(
    open_queue: Callable[..., Any], proxy: FaultyProxy
) -> None:
    queue = open_queue()
    proxy.inject("SendMessageBatch", entries_failed({"1"}, "InvalidMessageContents", is_sender_fault=True))
    with pytest.raises(BackendDenied, match="InvalidMessageContents"):
        queue.send([b"a", b"b", b"c"])
    assert sorted(_drained(queue, 2)) == [b"a", b"c"]


@pytest.mark.parametrize(
    ("code", "error"), [("ThrottlingException", BackendThrottled), ("InternalError", BackendUnavailable)]
)
@pytest.mark.parametrize("operation", ["send", "extend", "ack", "nack"])
def test_entries_that_fail_for_good_are_told_apart(
    open_queue: Callable[..., Any],
    proxy: FaultyProxy,
    operation: str,
    code: str,
    error: type[BackendError],
) -> None:
    queue = open_queue()
    queue.body_bytes_max  # noqa: B018 -- read from the queue now, and not between the faults
    proxy.inject(_ACTIONS[operation], *[entries_failed({"0"}, code, is_sender_fault=False)] * 4)
    with pytest.raises(error, match=code):
        _do(queue, operation)
    assert proxy.is_spent


def test_acks_that_failed_are_repeated_alone(open_queue: Callable[..., Any], proxy: FaultyProxy) -> None:
    queue = open_queue()
    queue.send([b"a", b"b", b"c"])
    receipts: list[str] = []
    while len(receipts) < 3:
        receipts += [one.receipt for one in queue.receive(count_max=10, wait_s=5.0)]
    proxy.inject("DeleteMessageBatch", entries_failed({"1"}, "InternalError", is_sender_fault=False))
    queue.ack(receipts)
    assert queue.depth().in_flight == 0


@pytest.mark.parametrize(
    "code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", "AWS.SimpleQueueService.MessageNotInflight"]
)
def test_a_receipt_that_holds_nothing_is_no_error(
    open_queue: Callable[..., Any], proxy: FaultyProxy, code: str
) -> None:
    queue = open_queue()
    queue.send([b"a", b"b"])
    held = [one.receipt for _ in range(2) for one in queue.receive(count_max=1, wait_s=5.0)]
    gone = entries_failed({"1"}, code, is_sender_fault=True)
    proxy.inject("ChangeMessageVisibilityBatch", gone, gone)
    proxy.inject("DeleteMessageBatch", gone)
    assert queue.extend(held, timeout_s=60.0) == [held[1]]
    queue.nack(held)
    queue.ack(held)


def test_a_send_whose_reply_was_lost_may_arrive_twice_but_arrives(
    open_queue: Callable[..., Any], proxy: FaultyProxy
) -> None:
    queue = open_queue()
    proxy.inject("SendMessageBatch", lost_reply)
    queue.send([b"x"])
    assert set(_drained(queue, 1)) == {b"x"}


# --- waiting ------------------------------------------------------------------------------------------------


def test_a_long_poll_can_be_interrupted_and_what_comes_late_is_handed_back(
    open_queue: Callable[..., Any], aws: Emulator
) -> None:
    url = aws.make_queue(VisibilityTimeout="600")
    queue = open_queue(url)
    began_s = time.monotonic()
    threading.Timer(0.3, queue.interrupt).start()
    assert queue.receive(count_max=1, wait_s=20.0) == []
    assert time.monotonic() - began_s < 10.0
    other = open_queue(url)
    other.send([b"x"])  # the poll that was left still waits at SQS, and gets this one
    queue.close(wait_s=20.0)
    (message,) = other.receive(count_max=1, wait_s=5.0)
    assert (message.body, message.receive_count) == (b"x", 2)
    assert queue.receive(count_max=1, wait_s=20.0) == []
    assert time.monotonic() - began_s < 20.0


def test_a_wait_longer_than_sqs_allows_is_several(
    open_queue: Callable[..., Any], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beholder.queue.sqs.POLL_S_MAX", 1)
    queue = open_queue()
    began_s = time.monotonic()
    assert queue.receive(count_max=1, wait_s=2.3) == []
    assert time.monotonic() - began_s > 1.9
    assert queue._client.calls["ReceiveMessage"] == 2


def test_a_poll_that_fails_raises_where_it_is_waited_for(
    open_queue: Callable[..., Any], proxy: FaultyProxy
) -> None:
    proxy.inject("ReceiveMessage", reset, reset)
    with pytest.raises(BackendUnavailable):
        open_queue().receive(count_max=1, wait_s=5.0)


# --- what is sent -------------------------------------------------------------------------------------------


def test_a_hundred_images_share_requests(open_queue: Callable[..., Any]) -> None:
    """With the threads and the bounds that a web process has on AWS."""
    queue = open_queue()

    def store(batch: Sequence[tuple[str, SubmissionRequest]]) -> list[Any]:
        queue.send([job_id.encode() for job_id, _ in batch])
        return [Job(job_id, JobStatus.QUEUED, 0.0) for job_id, _ in batch]

    async def send_all() -> None:
        batcher = Batcher(store, threads=4, batch_max=10, gather_s=0.005)
        batcher.start()
        image = SubmissionRequest(b"x", "a.jpg", Options())
        await asyncio.gather(*(batcher.submit(f"{number}", image) for number in range(100)))
        batcher.close()

    asyncio.run(send_all())
    assert len(set(_drained(queue, 100))) == 100
    assert queue._client.calls["SendMessageBatch"] <= 40


def test_messages_carry_their_group(
    open_queue: Callable[..., Any], aws: Emulator, proxy: FaultyProxy
) -> None:
    url = aws.make_queue()
    queue = open_queue(url, group_of=lambda body: body.decode()[:1] if body else None)
    queue.send([b"alice's", b"bob's", b""])
    queue.send([b"alice waits"], priority=Priority.INTERACTIVE)
    received: dict[str, str | None] = {}
    while len(received) < 4:
        answer = aws.client("sqs").receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5, MessageSystemAttributeNames=["All"]
        )
        for one in answer["Messages"]:
            received[one["Body"]] = one["Attributes"].get("MessageGroupId")
    # Each class of a sender's messages is a group of its own.
    assert received == {"alice's": "a-async", "bob's": "b-async", "=": None, "alice waits": "a"}


def test_a_queue_s_own_limit_decides_how_long_a_body_may_be(
    open_queue: Callable[..., Any], aws: Emulator
) -> None:
    queue = open_queue(aws.make_queue(MaximumMessageSize="2048"))
    longest = b"\xff" * queue.body_bytes_max
    queue.send([longest])
    assert _drained(queue, 1) == [longest]
    with pytest.raises(ValueError, match="2048"):
        queue.send([longest + b"\xff\xff\xff"])


def _drained(queue: Any, count: int) -> list[bytes]:
    bodies: list[bytes] = []
    while len(bodies) < count:
        messages = queue.receive(count_max=10, wait_s=5.0)
        assert messages, f"{len(bodies)} of {count} came"
        bodies += [message.body for message in messages]
        queue.ack([message.receipt for message in messages])
    return bodies
