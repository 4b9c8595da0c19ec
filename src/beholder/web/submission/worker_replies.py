"""Takes the replies of workers, and wakes the waiting requests."""

import logging
from collections.abc import Callable, Iterator, Sequence

from beholder.job import read_outcome
from beholder.job.reply import Reply
from beholder.telemetry.log import log_event
from beholder.telemetry.metrics import Telemetry
from beholder.web.submission.pending import PendingReplies
from beholder.web.submission.request import Outcome

__all__ = ["ReplyReader"]

_log = logging.getLogger(__name__)


class ReplyReader:
    """Settles the pending requests from replies; an outcome for which no request waits is ignored.

    Args:
        pending_replies: The requests that wait.
        telemetry: Counts finished jobs.
        on_done: Called with the number of outcomes of each call.
    """

    def __init__(
        self,
        pending_replies: PendingReplies,
        telemetry: Telemetry,
        *,
        on_done: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._pending_replies = pending_replies
        self._telemetry = telemetry
        self._on_done = on_done

    def take(self, bodies: Sequence[bytes]) -> None:
        """Settle the requests that wait for the outcomes in these replies; call it in the event loop."""
        outcomes = [outcome for body in bodies for outcome in self._outcomes_of(body)]
        if outcomes:
            self._pending_replies.settle(outcomes)
            self._on_done(len(outcomes))
        for outcome in outcomes:
            self._telemetry.job_done(outcome.job)

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
