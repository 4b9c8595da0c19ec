"""The dead-letter clerk: a message that nobody could finish still ends as an answered job.

It empties the dead-letter queue into the output bucket. A job whose every attempt killed its worker gets a
failed result that says so, its waiter a reply, and the message itself is kept as an object, so that it can be
sent again; the image stays in the input bucket.
"""

import hashlib
import json
import logging
from collections.abc import Callable

from beholder.clock import Clock
from beholder.errors import JobAbandoned
from beholder.job import Failure, Message, MessageInvalid
from beholder.queue.port import Queue, Received
from beholder.store.keys import dead_letter_key, unreadable_key
from beholder.store.port import Store
from beholder.telemetry.log import get_logger, say
from beholder.worker import outcomes

__all__ = ["DeadLetterClerk"]

_log = get_logger(__name__)

_BATCH = 10


class DeadLetterClerk:
    """Writes the outcome of jobs that were given up.

    Args:
        dead_letters: The queue to empty.
        results: The output bucket.
        replies: Gives the reply queue of a web process by its name.
        clock: The time.
        wait_s: How long one pass waits for a dead letter.
    """

    def __init__(
        self,
        dead_letters: Queue,
        results: Store,
        replies: Callable[[str], Queue],
        clock: Clock,
        *,
        wait_s: float = 1.0,
    ) -> None:
        """Take the ports."""
        self._dead_letters = dead_letters
        self._results = results
        self._replies = replies
        self._clock = clock
        self._wait_s = wait_s

    def tick(self) -> float:
        """Settle what lies in the dead-letter queue; returns the seconds until the next pass."""
        for one in self._dead_letters.receive(count_max=_BATCH, wait_s=self._wait_s):
            self._settle(one)
        return 0.0

    def _settle(self, received: Received) -> None:
        try:
            message = Message.from_bytes(received.body)
        except MessageInvalid as exc:
            name = hashlib.sha256(received.body).hexdigest()
            self._results.put(unreadable_key(name), received.body)
            say(_log, logging.WARNING, "dead_letter.unreadable", exc.message, key=unreadable_key(name))
        else:
            self._fail(message, received.body)
        self._dead_letters.ack([received.receipt])

    def _fail(self, message: Message, body: bytes) -> None:
        error = JobAbandoned()
        failure = Failure(code=error.code, status=error.http_status, detail=error.message)
        say(_log, logging.ERROR, "dead_letter.job", error.message, job_id=message.job_id)
        record = {"job_id": message.job_id, "code": error.code, "message": body.decode("utf-8", "replace")}
        self._results.put(dead_letter_key(message.job_id), json.dumps(record).encode())
        job = outcomes.failed_job(message, failure, self._clock.now_s())
        documents = outcomes.store(self._results, [job])
        outcomes.reply(self._replies, [message], documents)
