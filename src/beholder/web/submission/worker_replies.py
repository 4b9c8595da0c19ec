"""Receives the replies of workers from this web process's reply queue, and wakes the waiting requests."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from beholder.job import read_outcome
from beholder.job.reply import Reply
from beholder.queue.port import Receiver
from beholder.telemetry.log import log_event
from beholder.telemetry.metrics import Telemetry
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome

__all__ = ["ReplyListener"]

_log = logging.getLogger(__name__)

_BATCH = 10
# An ack costs a transaction and a second delivery costs nothing, so several passes share one ack.
_ACK_BATCH_MAX = 50
_PASSES_BEFORE_ACK = 10
# Longer than that many passes take, since a reply that became visible again would be counted twice.
_VISIBILITY_TIMEOUT_S = 300.0


class ReplyListener:
    """Receives replies and settles the pending requests; an outcome for which no request waits is ignored.

    Args:
        queue: The reply queue of this web process.
        pending_replies: The requests that wait.
        loop: Their event loop.
        telemetry: Counts finished jobs.
        wait_s: How long one pass waits for a reply.
        on_done: Called with the number of outcomes of each pass.
    """

    def __init__(
        self,
        queue: Receiver,
        pending_replies: PendingReplies,
        loop: asyncio.AbstractEventLoop,
        telemetry: Telemetry,
        *,
        wait_s: float = 1.0,
        on_done: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._queue = queue
        self._pending_replies = pending_replies
        self._loop = loop
        self._telemetry = telemetry
        self._wait_s = wait_s
        self._on_done = on_done
        self._receipts: list[str] = []
        self._passes = 0

    def tick(self) -> float:
        """Receive replies once; return the seconds until the next pass."""
        received = self._queue.receive(
            count_max=_BATCH, wait_s=self._wait_s, visibility_timeout_s=_VISIBILITY_TIMEOUT_S
        )
        outcomes = [outcome for one in received for outcome in self._outcomes_of(one.body)]
        if outcomes:
            self._loop.call_soon_threadsafe(self._pending_replies.settle, outcomes)
            self._on_done(len(outcomes))
        self._receipts += [one.receipt for one in received]
        self._passes += 1
        for outcome in outcomes:
            self._telemetry.job_done(outcome.job)
        if not received or len(self._receipts) >= _ACK_BATCH_MAX or self._passes >= _PASSES_BEFORE_ACK:
            self._queue.ack(self._receipts)
            self._receipts = []
            self._passes = 0
        return 0.0

    def _outcomes_of(self, body: bytes) -> Iterator[Outcome]:
        """Yield the outcomes of a reply; log and skip what cannot be read."""
        try:
            reply = Reply.from_bytes(body)
        except ValueError as exc:
            log_event(_log, logging.WARNING, "replies.unreadable", str(exc))
            return
        self._telemetry.count_calls("worker", reply.calls)
        for document in reply.documents:
            try:
                yield Outcome(read_outcome(document), document)
            except ValueError as exc:
                log_event(_log, logging.WARNING, "replies.unreadable", str(exc))
