"""The dead-letter consumer: a message that nobody could finish still ends as an answered job.

It empties the dead-letter queue into the output bucket. A job whose every attempt killed its worker gets a
failed result that says so, its pending reply a reply, and the message itself is kept as an object, so that
it can be sent again; the image stays in the input bucket. A dropped one has such a result too.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from beholder.clock import Clock
from beholder.errors import JobAbandoned, ObjectExists, ObjectNotFound
from beholder.job import Failure, Job, MessageInvalid, read_outcome
from beholder.job.events import EventBatch
from beholder.queue.port import Queue, Received
from beholder.results import outcomes
from beholder.results.attempts import attempt
from beholder.results.messages import ParsedMessage, sort_body
from beholder.store.keys import dead_letter_key, drop_result_key, unreadable_key
from beholder.store.port import Store
from beholder.telemetry.log import get_logger, log_event

__all__ = ["DeadLetterConsumer"]

_log = get_logger(__name__)

_BATCH = 10
_REASON_CHARS_MAX = 300


class DeadLetterConsumer:
    """Writes the outcome of jobs that were given up.

    Args:
        dead_letters: The queue to empty.
        results: The output bucket.
        replies: Gives the reply queue of a web process by its name.
        clock: The time.
        wait_s: How long one pass waits for a dead letter.
        input_bucket: Name of the input bucket, by which events tell of it; empty where no drop is taken.
    """

    def __init__(
        self,
        dead_letters: Queue,
        results: Store,
        replies: Callable[[str], Queue],
        clock: Clock,
        *,
        wait_s: float = 1.0,
        input_bucket: str = "",
    ) -> None:
        self._dead_letters = dead_letters
        self._results = results
        self._replies = replies
        self._clock = clock
        self._wait_s = wait_s
        self._input_bucket = input_bucket

    def tick(self) -> float:
        """Settle what lies in the dead-letter queue; returns the seconds until the next pass.

        A letter that cannot be settled keeps no other from it; it comes again when its time is over.
        """
        received = self._dead_letters.receive(count_max=_BATCH, wait_s=self._wait_s)
        errors = [error for one in received if (error := attempt(self._settle, one)) is not None]
        if errors:
            raise errors[0]
        return 0.0

    def settle(self, body: bytes, reason: str | None = None) -> None:
        """Write the outcome of a message that is given up, tell who waits, and keep it as a letter.

        Args:
            body: The message.
            reason: Why, for the operator; None where nobody could tell.

        Raises:
            BackendError: That cannot be stored.
        """
        try:
            found = sort_body(body, input_bucket=self._input_bucket, now_s=self._clock.now_s())
        except MessageInvalid as exc:
            self._keep(body, exc.message)
            return
        if isinstance(found, ParsedMessage):
            self._fail(found, body, reason)
        elif isinstance(found, EventBatch):
            for one in found.bodies:
                self.settle(one, reason)
        else:
            self._keep(body, found.reason)

    def _settle(self, received: Received) -> None:
        self.settle(received.body)
        self._dead_letters.ack([received.receipt])

    def _keep(self, body: bytes, reason: str) -> None:
        """Keep a body of which nothing can be made."""
        key = unreadable_key(hashlib.sha256(body).hexdigest())
        metadata = {"reason": reason[:_REASON_CHARS_MAX], "at": _time_text(self._clock.now_s())}
        self._results.put(key, body, metadata=metadata)
        log_event(_log, logging.WARNING, "dead_letter.unreadable", reason, key=key)

    def _fail(self, work: ParsedMessage, body: bytes, reason: str | None) -> None:
        message, error, now_s = work.message, JobAbandoned(), self._clock.now_s()
        failure = Failure(code=error.code, status=error.http_status, detail=error.message)
        key = dead_letter_key(message.job_id)
        reason = (reason or self._told_before(key) or error.message)[:_REASON_CHARS_MAX]
        log_event(_log, logging.ERROR, "dead_letter.job", reason, job_id=message.job_id)
        # A listing needs nothing but this record.
        record = {
            "job_id": message.job_id,
            "code": error.code,
            "reason": reason,
            "at": _time_text(now_s),
            "file_name": message.input.file_name,
            "image_key": message.input.image_key,
            "message": body.decode("utf-8", "replace"),
        }
        self._results.put(key, json.dumps(record).encode())
        job = outcomes.failed_job(message, failure, now_s)
        if work.is_drop:
            self._fail_drop(job, drop_result_key(message.input.image_key))
            return
        (document,) = outcomes.store(self._results, [job])
        if isinstance(document, Exception):
            raise document
        outcomes.reply(self._replies, [message], [document])

    def _told_before(self, key: str) -> str | None:
        """Return the reason in a letter that a worker wrote, which could not write the outcome."""
        try:
            return str(json.loads(self._results.get(key))["reason"])
        except (ObjectNotFound, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _fail_drop(self, job: Job, key: str) -> None:
        """Write the outcome of a dropped image, unless that of the same object or of a newer one is there.

        A worker may write the result of a newer object between the look and the put. A store has no put that
        could tell, so that result is lost then; it takes an image that kills workers and is replaced within
        the second in which it is given up.
        """
        document = outcomes.drop_document(job)
        try:
            self._results.put(key, document, only_if_absent=True)
        except ObjectExists:
            if not _stands(self._results.get(key), job):
                self._results.put(key, document)


def _stands(document: bytes, job: Job) -> bool:
    """Say whether a result is that of the same object as a job's, or of one that was put later."""
    try:
        earlier = read_outcome(document)
    except ValueError:
        return False
    return earlier.id == job.id or earlier.created_at_s > job.created_at_s


def _time_text(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
