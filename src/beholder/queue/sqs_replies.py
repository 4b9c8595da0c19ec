"""Reply queues on SQS: a web process's own, and those to which a worker sends replies."""

import contextlib
import functools
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from beholder.clock import Clock, MonotonicClock, utc_text
from beholder.errors import BackendDenied, BackendError, QueueGone
from beholder.job import new_job_id
from beholder.queue.bounds import check_name
from beholder.queue.port import Priority, Queue, Received
from beholder.queue.sqs import SqsQueue
from beholder.queue.sqs_client import POLL_S_MAX, SqsClient
from beholder.queue.sqs_sweeper import DEPLOYMENT, HEARTBEAT_AT, HEARTBEAT_EVERY_S, OWNER, IdleQueueSweeper
from beholder.telemetry.log import log_event

__all__ = ["OwnReplyQueue", "ReplyQueues"]

_log = logging.getLogger(__name__)

# A reply is a hint: a web process that gets none for minutes has looked into the bucket. Every queue is
# encrypted with SQS's own keys by default.
# Source (2026-11): https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
# and https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-sqs-sse-queue.html
_ATTRIBUTES = {
    "MessageRetentionPeriod": "300",
    "ReceiveMessageWaitTimeSeconds": str(POLL_S_MAX),
    "VisibilityTimeout": "30",
}
_NAME_CHARS_MAX = 80
_UNIQUE_CHARS = 8
# SQS may not know a queue in the first second after its creation, by the page on CreateQueue above. This is
# longer, so that a queue that is deleted again and again is not made as often.
_SETTLE_S = 30.0
# After SQS says that there is no such queue, a worker sends nothing to it for so long, and twice as long the
# next time: its first reply may come before SQS knows a new queue everywhere.
_GONE_S_MIN, _GONE_S_MAX = 5.0, 300.0
# Queues that a worker keeps open; to open one again costs two calls.
_OPEN_MAX = 1000

_MONOTONIC = MonotonicClock()


@dataclass(frozen=True, slots=True)
class _Made:
    """A reply queue that this process made."""

    name: str
    url: str
    queue: SqsQueue
    made_at_s: float


class OwnReplyQueue:
    """The reply queue of one web process, a `Receiver`: made at `with`, removed at its end.

    If another program deletes the queue, `receive` makes another under a new `name`, because SQS keeps the
    name of a deleted queue for a minute. Replies to the old name are lost, and the web process looks for
    their outcomes in the output bucket.

    Permissions, on `<prefix>-*`: sqs:CreateQueue, sqs:TagQueue, sqs:DeleteQueue, sqs:ListQueueTags,
    sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility; on every queue sqs:ListQueues. The
    attributes are given at creation, so sqs:SetQueueAttributes is not among them.

    Args:
        client: Calls SQS.
        deployment: The deployment's name, which all its resources carry as a tag.
        prefix: First part of the names of all reply queues of the deployment, 60 characters at most.
        owner: Name of this web process; others may have the same. Characters that SQS does not allow become
            `-`.
        clock: Gives the time that is written on the queue.

    Raises:
        ValueError: No name can be made of the prefix.
    """

    def __init__(self, client: SqsClient, *, deployment: str, prefix: str, owner: str, clock: Clock) -> None:
        check_name(prefix)
        room = _NAME_CHARS_MAX - len(prefix) - _UNIQUE_CHARS - 2
        if room < 10:  # noqa: PLR2004 -- or a reader could not tell owners apart
            raise ValueError(f"the prefix {prefix!r} of reply queues is longer than 60 characters")
        self._client = client
        self._deployment = deployment
        self._prefix = prefix
        self._owner = re.sub("[^A-Za-z0-9_-]", "-", owner)[:room] or "web"
        self._clock = clock
        self._sweeper = IdleQueueSweeper(client, deployment=deployment, prefix=prefix, clock=clock)
        self._changing = threading.Lock()
        self._made: _Made | None = None
        self._renewed_at_s = 0.0
        self._is_interrupted = False
        self._is_closed = False

    def __enter__(self) -> Self:
        """Make the queue.

        Raises:
            BackendError: It cannot be made.
        """
        with self._changing:
            self._made = self._make()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the queue; if that fails, log it, and leave it to the sweepers of other web processes."""
        with self._changing:
            self._is_closed = True
        own = self._own
        own.queue.close()
        try:
            self._client.call("delete", "delete_queue", QueueUrl=own.url)
        except QueueGone:
            pass
        except BackendError as exc:
            log_event(_log, logging.WARNING, "reply_queue.left", exc.message, queue=own.name)

    @property
    def name(self) -> str:
        """The name that workers reply to; it changes when the queue is made anew."""
        return self._own.name

    def interrupt(self) -> None:
        """Let waiting receives return at once with nothing, and keep later ones from waiting."""
        with self._changing:
            self._is_interrupted = True
        self._own.queue.interrupt()

    # --- the port -------------------------------------------------------------------------------------------

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` replies; see the port. It returns none if it had to make the queue anew.

        Raises:
            QueueGone: SQS does not know the queue, or not yet: it is new, or this process is at its end.
        """
        own = self._own
        try:
            return own.queue.receive(
                count_max=count_max, wait_s=wait_s, visibility_timeout_s=visibility_timeout_s
            )
        except QueueGone:
            if not self._replace(own):
                raise
            return []

    def ack(self, receipts: Sequence[str]) -> None:
        """Delete replies for good; see the port. Those of a deleted queue are gone already."""
        with contextlib.suppress(QueueGone):
            self._own.queue.ack(receipts)

    # --- ticks ----------------------------------------------------------------------------------------------

    def heartbeat_tick(self) -> float:
        """Write a new heartbeat on the queue; return the seconds until the next pass.

        Raises:
            BackendError: It could not be written; others take the owner for dead after 15 minutes.
        """
        own = self._own
        now_s = self._clock.now_s()
        # A clock that was set back must not stop the heartbeat.
        if 0 <= now_s - self._renewed_at_s < HEARTBEAT_EVERY_S:
            return self._renewed_at_s + HEARTBEAT_EVERY_S - now_s
        try:
            self._client.call("tag", "tag_queue", QueueUrl=own.url, Tags={HEARTBEAT_AT: utc_text(now_s)})
            self._renewed_at_s = now_s
        except QueueGone:
            if not self._replace(own):
                raise
        return HEARTBEAT_EVERY_S

    def sweeper_tick(self) -> float:
        """Remove the reply queues of dead owners; see `IdleQueueSweeper.tick`."""
        return self._sweeper.tick(self.name)

    # --- the queue itself -----------------------------------------------------------------------------------

    @property
    def _own(self) -> _Made:
        if self._made is None:
            raise RuntimeError("a reply queue exists only inside its `with`")
        return self._made

    def _replace(self, gone: _Made) -> bool:
        """Make another queue unless another thread did; return whether there is one to use."""
        with self._changing:
            if self._own is not gone:
                return True
            if self._is_closed or 0 <= self._clock.now_s() - gone.made_at_s < _SETTLE_S:
                return False
            made = self._made = self._make()
            if self._is_interrupted:
                made.queue.interrupt()
        facts = {"queue": made.name, "gone": gone.name}
        log_event(_log, logging.WARNING, "reply_queue.replaced", "it was deleted and made anew", **facts)
        return True

    def _make(self) -> _Made:
        now_s = self._clock.now_s()
        name = f"{self._prefix}-{self._owner}-{new_job_id(now_s)[-_UNIQUE_CHARS:]}"
        tags = {DEPLOYMENT: self._deployment, OWNER: self._owner, HEARTBEAT_AT: utc_text(now_s)}
        made = self._client.call("create", "create_queue", QueueName=name, Attributes=_ATTRIBUTES, tags=tags)
        self._renewed_at_s = now_s
        return _Made(name, made["QueueUrl"], SqsQueue(made["QueueUrl"], client=self._client), now_s)


class ReplyQueues:
    """Opens the reply queues of web processes by their names; safe to use from many threads at once.

    Permissions: sqs:GetQueueUrl, sqs:GetQueueAttributes and sqs:SendMessage on the reply queues.

    Args:
        client: Calls SQS.
        clock: Measures how long ago a queue was gone.
    """

    def __init__(self, client: SqsClient, *, clock: Clock = _MONOTONIC) -> None:
        self._client = client
        self._clock = clock
        # Bounded, because every web process has a new name.
        self._open: Callable[[str], Queue] = functools.lru_cache(_OPEN_MAX)(self._opened)

    def __call__(self, name: str) -> Queue:
        """Return the reply queue of this name; SQS is asked at the first send, and remembered.

        A queue that is gone refuses every send with `QueueGone`, for a while without asking SQS.

        Raises:
            BackendDenied: `name` is no queue's name; it came in a message, from an unknown sender.
        """
        return self._open(name)

    def _opened(self, name: str) -> Queue:
        try:
            check_name(name)  # a URL, too, is refused: it could name another server
        except ValueError as exc:
            raise BackendDenied("sqs queue", "open", str(exc)) from exc
        return _ReplyQueue(name, self._client, self._clock)


class _ReplyQueue(SqsQueue):
    """The reply queue of a web process that may be gone."""

    def __init__(self, name: str, client: SqsClient, clock: Clock) -> None:
        super().__init__(name, client=client)
        self._clock = clock
        self._gone_until_s: float | None = None
        self._gone_s = _GONE_S_MIN

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.ASYNCHRONOUS) -> None:
        """Store every body as a message of its own; see `Queue.send`.

        Raises:
            QueueGone: There is no such queue, or there was none a short while ago.
        """
        until_s = self._gone_until_s
        if until_s is not None and self._clock.now_s() < until_s:
            raise QueueGone("sqs queue", "send", "the reply queue was gone a short while ago")
        try:
            super().send(bodies, priority=priority)
        except QueueGone:
            if self._gone_until_s == until_s:  # several threads that meet this count once
                self._gone_until_s = self._clock.now_s() + self._gone_s
                self._gone_s = min(self._gone_s * 2, _GONE_S_MAX)
            raise
        self._gone_until_s, self._gone_s = None, _GONE_S_MIN
