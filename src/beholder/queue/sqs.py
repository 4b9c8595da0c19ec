"""The queue on Amazon SQS: a standard queue, through boto3.

Receives wait at SQS itself. Redrive, retention and encryption are the queue's own settings, made where it is
deployed.
"""

import concurrent.futures
import contextlib
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError
from itertools import islice
from typing import Any, Self

from beholder.errors import BackendDenied, BackendError, BackendUnavailable
from beholder.queue.bounds import COUNT_MAX, check_name, check_receive, check_seconds
from beholder.queue.port import Depth, Priority, Received
from beholder.queue.sqs_batches import send_batches
from beholder.queue.sqs_body import ENCODING, binary_bytes_max, decoded, encoded, size_bytes_of
from beholder.queue.sqs_client import POLL_S_MAX, SqsClient

__all__ = ["SqsQueue"]

# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html and
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html (2026-11)
_VISIBILITY_S_MAX = 43_200
_SIZE = "MaximumMessageSize"
_REDRIVE = "RedrivePolicy"
_COUNT = "ApproximateReceiveCount"
_GROUP_ENDS = {
    Priority.INTERACTIVE: "",
    Priority.ASYNCHRONOUS: "-async",
    Priority.INTERACTIVE | Priority.HEAVY: "-heavy",
    Priority.ASYNCHRONOUS | Priority.HEAVY: "-heavy-async",
}
_DEPTH = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsQueue:
    """A standard queue of SQS; see the `Queue` port for its methods.

    SQS counts in whole seconds: hidden times are rounded up, waits to the nearest second but never to zero.
    The order is best effort. A message may be received twice, and on rare occasions even after its ack. SQS
    may ignore the ack of an old receipt.
    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html

    Permissions: sqs:SendMessage, sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility,
    sqs:GetQueueAttributes; sqs:GetQueueUrl where it is opened by its name.

    Every method may also raise `BackendThrottled`: SQS still asked for fewer requests after the retries.

    Args:
        url_or_name: The queue's URL, which saves a call, or its name. Nothing is sent before the first call.
        client: Calls SQS; several queues may share it, and the caller closes it.
        group_of: Returns a message's group by its body, or None. SQS takes messages from the groups in turn,
            so that a group with much work does not keep the others waiting.
            Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
            sqs-fair-queues.html (2026-11)

    Raises:
        ValueError: SQS does not allow the name.
    """

    def __init__(
        self,
        url_or_name: str,
        *,
        client: SqsClient,
        group_of: Callable[[bytes], str | None] | None = None,
    ) -> None:
        is_url = "://" in url_or_name
        if not is_url:
            check_name(url_or_name)
        self._name = url_or_name
        self._url = url_or_name if is_url else None
        self._client = client
        self._group_of = group_of
        self._size_max: int | None = None
        self._asking = threading.Lock()
        self._interruption: Future[None] = Future()
        self._polls: set[Future[None]] = set()

    def __enter__(self) -> Self:
        """Return the queue itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the queue."""
        self.close()

    def close(self, *, wait_s: float = 0.0) -> None:
        """End all waiting, now and later.

        A poll that `interrupt` abandoned hands back the messages it gets; if the process ends before that,
        they stay hidden for their visibility timeout.

        Args:
            wait_s: How long to wait for such polls; 20 seconds are always enough.
        """
        self.interrupt()
        concurrent.futures.wait(tuple(self._polls), timeout=wait_s)

    @property
    def open_polls(self) -> int:
        """How many polls have no answer from SQS yet, abandoned ones included."""
        return len(self._polls)

    def interrupt(self) -> None:
        """Let waiting receives return at once with nothing, and keep later ones from waiting."""
        with contextlib.suppress(InvalidStateError):  # it was interrupted before
            self._interruption.set_result(None)

    @property
    def body_bytes_max(self) -> int:
        """Return how long a body of any bytes may be; asked of the queue once.

        Raises:
            BackendError: The queue cannot be asked.
        """
        return binary_bytes_max(self._message_bytes_max())

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.ASYNCHRONOUS) -> None:
        """Store every body as a message of its own; see `Queue.send`.

        SQS knows no classes. If messages have groups, each class is a group of its own, and SQS holds back
        the group with the most messages in flight; nothing is promised beyond that.

        Raises:
            ValueError: A body is too long for the queue; nothing was sent.
            BackendError: Some bodies were not stored, or may not be; others may have been.
        """
        entries = [self._entry(body, priority) for body in bodies]
        for batch in send_batches(entries):
            outcomes = self._client.batch("send", "send_message_batch", self._queue_url(), batch)
            for error in outcomes:
                if error is not None:
                    raise error

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` visible messages, and hide them; see `Queue.receive`.

        Without a wait SQS asks only some of its servers, and may miss messages on the others.
        Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
        sqs-short-and-long-polling.html (2026-11)
        """
        check_receive(count_max=count_max, wait_s=wait_s)
        asked: dict[str, Any] = {"MaxNumberOfMessages": count_max}
        if visibility_timeout_s is not None:
            _check("visibility_timeout_s", visibility_timeout_s, _VISIBILITY_S_MAX)
            asked["VisibilityTimeout"] = math.ceil(visibility_timeout_s)
        left_s = max(1, round(wait_s)) if wait_s else 0
        while left_s > 0 and not self._interruption.done():
            step_s = min(left_s, POLL_S_MAX)
            received = self._poll({**asked, "WaitTimeSeconds": step_s})
            left_s -= step_s
            if received or left_s <= 0 or self._interruption.done():
                return received
        return self._ask({**asked, "WaitTimeSeconds": 0})

    def extend(self, receipts: Sequence[str], *, timeout_s: float) -> list[str]:
        """Hide messages for `timeout_s` more seconds, counted from this call; see `Queue.extend`.

        SQS hides no message for longer than twelve hours after its receive; a receipt past that is lost too.
        """
        _check("timeout_s", timeout_s, _VISIBILITY_S_MAX)
        more = {"VisibilityTimeout": math.ceil(timeout_s)}
        return self._change("extend", "change_message_visibility_batch", receipts, more)

    def ack(self, receipts: Sequence[str]) -> None:
        """Delete messages for good; see `Queue.ack`."""
        self._change("ack", "delete_message_batch", receipts, {})

    def nack(self, receipts: Sequence[str]) -> None:
        """Make messages visible now; see `Queue.nack`."""
        self._change("nack", "change_message_visibility_batch", receipts, {"VisibilityTimeout": 0})

    def depth(self) -> Depth:
        """Return the approximate number of messages; see `Queue.depth`."""
        numbers = self._attributes("depth", _DEPTH)
        return Depth(*(int(numbers.get(name, 0)) for name in _DEPTH))

    def redrive(self) -> tuple[str, int] | None:
        """Return the name of the dead-letter queue and the receives before it, or None if there is none.

        Raises:
            BackendError: The queue cannot be asked.
        """
        policy = self._attributes("redrive", [_REDRIVE]).get(_REDRIVE)
        if not policy:
            return None
        document = json.loads(policy)
        return str(document["deadLetterTargetArn"]).rpartition(":")[2], int(document["maxReceiveCount"])

    def _entry(self, body: bytes, priority: Priority) -> tuple[dict[str, Any], int]:
        text, attributes = encoded(body)
        size_bytes = size_bytes_of(text, attributes)
        if size_bytes > self._message_bytes_max():
            raise ValueError(
                f"a body takes {size_bytes} bytes encoded, the queue {self._message_bytes_max()}"
            )
        parameters: dict[str, Any] = {"MessageBody": text}
        if attributes:
            parameters["MessageAttributes"] = attributes
        group = self._group_of(body) if self._group_of else None
        if group is not None:
            parameters["MessageGroupId"] = f"{group}{_GROUP_ENDS[priority]}"
        return parameters, size_bytes

    def _poll(self, asked: Mapping[str, Any]) -> list[Received]:
        """Receive in another thread, so that an interruption need not wait for SQS."""
        poll: Future[list[Received]] = Future()
        over: Future[None] = Future()

        def run() -> None:
            try:
                self._answer(poll, asked)
            finally:
                with contextlib.suppress(InvalidStateError):  # it has its answer, or is abandoned
                    poll.set_exception(BackendUnavailable("sqs queue", "receive", "the poll ended"))
                self._polls.discard(over)
                over.set_result(None)

        self._polls.add(over)
        try:
            threading.Thread(target=run, name="sqs-poll", daemon=True).start()
            either: tuple[Future[Any], ...] = (poll, self._interruption)
            concurrent.futures.wait(either, return_when=FIRST_COMPLETED)
        finally:
            is_abandoned = poll.cancel()  # True if it has no answer yet: from now on it takes none
        return [] if is_abandoned else poll.result()

    def _answer(self, poll: "Future[list[Received]]", asked: Mapping[str, Any]) -> None:
        received: list[Received] = []
        try:
            received = self._ask(asked)
            poll.set_result(received)
        except BackendError as exc:
            with contextlib.suppress(InvalidStateError):
                poll.set_exception(exc)
        except InvalidStateError:  # it is abandoned
            with contextlib.suppress(BackendError):
                self.nack([message.receipt for message in received])

    def _ask(self, asked: Mapping[str, Any]) -> list[Received]:
        answer = self._client.call(
            "receive",
            "receive_message",
            QueueUrl=self._queue_url(),
            MessageSystemAttributeNames=[_COUNT],
            MessageAttributeNames=[ENCODING],
            **asked,
        )
        return [
            Received(
                decoded(message["Body"], message.get("MessageAttributes", {})),
                message["ReceiptHandle"],
                int(message.get("Attributes", {}).get(_COUNT, 1)),
            )
            for message in answer.get("Messages", [])
        ]

    def _change(
        self, operation: str, action: str, receipts: Sequence[str], more: Mapping[str, Any]
    ) -> list[str]:
        """Change the message of every receipt, and return the receipts that hold nothing any more."""
        gone: list[str] = []
        rest = iter(receipts)
        while chunk := list(islice(rest, COUNT_MAX)):
            entries = [{"ReceiptHandle": receipt, **more} for receipt in chunk]
            outcomes = self._client.batch(operation, action, self._queue_url(), entries)
            for receipt, outcome in zip(chunk, outcomes, strict=True):
                # Nothing but the receipt of an entry can be wrong: ReceiptHandleIsInvalid,
                # MessageNotInflight, or InvalidParameterValue if the message is gone.
                if isinstance(outcome, BackendDenied):
                    gone.append(receipt)
                elif outcome is not None:
                    raise outcome
        return gone

    def _message_bytes_max(self) -> int:
        with self._asking:
            if self._size_max is None:
                self._size_max = int(self._attributes("send", [_SIZE])[_SIZE])
            return self._size_max

    def _attributes(self, operation: str, names: Sequence[str]) -> Mapping[str, str]:
        answer = self._client.call(
            operation, "get_queue_attributes", QueueUrl=self._queue_url(), AttributeNames=list(names)
        )
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        return attributes

    def _queue_url(self) -> str:
        if self._url is None:
            self._url = str(self._client.call("open", "get_queue_url", QueueName=self._name)["QueueUrl"])
        return self._url


def _check(what: str, seconds: float, seconds_max: int) -> None:
    check_seconds(what, seconds)
    if seconds > seconds_max:
        raise ValueError(f"{what} is {seconds}, and SQS allows {seconds_max}")
