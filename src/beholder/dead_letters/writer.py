"""The end of a message that is given up: a failed outcome, a reply, and a dead letter in the output bucket.

The letter is an object that keeps the message, so that it can be sent again. The image stays in the input
bucket.
"""

import hashlib
import json
import logging
from collections.abc import Callable

from beholder.clock import Clock, utc_text
from beholder.errors import JobAbandoned, JobDeleted, ObjectExists, ObjectNotFound
from beholder.job import Failure, Job, MessageInvalid, read_outcome
from beholder.job.events import EventBatch
from beholder.queue.port import Sender
from beholder.results import outcomes
from beholder.results.messages import ParsedMessage, parse_body
from beholder.store.keys import dead_letter_key, unreadable_key, upload_result_key
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["DeadLetterWriter"]

_log = logging.getLogger(__name__)

_REASON_CHARS_MAX = 300


class DeadLetterWriter:
    """Writes the outcome and the letter of messages that are given up.

    Args:
        results: The output bucket.
        replies: Returns the way to the replies of a web process, by its name.
        clock: The time.
        input_bucket: The bucket whose upload events are taken; empty to take none.
    """

    def __init__(
        self, results: Store, replies: Callable[[str], Sender], clock: Clock, *, input_bucket: str
    ) -> None:
        self._results = results
        self._replies = replies
        self._clock = clock
        self._input_bucket = input_bucket

    def give_up(self, body: bytes, reason: str | None = None) -> None:
        """Write the letter, the failed outcome and the reply of a message.

        Args:
            body: The message.
            reason: Why, for the operator; None if it is unknown.

        Raises:
            BackendError: The bucket cannot be written.
        """
        try:
            found = parse_body(body, input_bucket=self._input_bucket, now_s=self._clock.now_s())
        except MessageInvalid as exc:
            self._keep_unreadable(body, exc.message)
            return
        if isinstance(found, ParsedMessage):
            self._fail(found, body, reason)
        elif isinstance(found, EventBatch):
            for single in found.bodies:
                self.give_up(single, reason)
        else:
            self._keep_unreadable(body, found.reason)

    def _keep_unreadable(self, body: bytes, reason: str) -> None:
        key = unreadable_key(hashlib.sha256(body).hexdigest())
        metadata = {"reason": reason[:_REASON_CHARS_MAX], "at": utc_text(self._clock.now_s())}
        self._results.put(key, body, metadata=metadata)
        log_event(_log, logging.WARNING, "dead_letter.unreadable", reason, key=key)

    def _fail(self, parsed: ParsedMessage, body: bytes, reason: str | None) -> None:
        message, error, now_s = parsed.message, JobAbandoned(), self._clock.now_s()
        key = dead_letter_key(message.job_id)
        reason = (reason or self._earlier_reason(key) or error.message)[:_REASON_CHARS_MAX]
        log_event(_log, logging.ERROR, "dead_letter.job", reason, job_id=message.job_id)
        # `beholder redrive` lists letters from these records alone.
        record = {
            "job_id": message.job_id,
            "code": error.code,
            "reason": reason,
            "at": utc_text(now_s),
            "file_name": message.input.file_name,
            "image_key": message.input.image_key,
            "message": body.decode("utf-8", "replace"),
        }
        self._results.put(key, json.dumps(record).encode())
        failure = Failure(code=error.code, status=error.http_status, detail=error.message)
        job = outcomes.failed_job(message, failure, now_s)
        if parsed.is_upload:
            self._fail_upload(job, upload_result_key(message.input.image_key))
        else:
            document = outcomes.store_outcome(self._results, job)
            if _is_deleted(document):  # the message may contain the image
                self._results.delete(key)
            outcomes.reply(self._replies, [message], [document])

    def _earlier_reason(self, key: str) -> str | None:
        """Return the reason in the letter of a worker that could not write the outcome."""
        try:
            return str(json.loads(self._results.get(key))["reason"])
        except (ObjectNotFound, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _fail_upload(self, job: Job, key: str) -> None:
        """Write the outcome of an upload, unless that of the same object or of a newer one stands.

        A worker may write the result of a newer object between the look and the put; that result is lost
        then, because no store has a put that could prevent it. It takes an image that kills workers and is
        replaced within the second in which it is given up.
        """
        document = outcomes.upload_document(job)
        try:
            self._results.put(key, document, only_if_absent=True)
        except ObjectExists:
            if not _is_as_new(self._results.get(key), job):
                self._results.put(key, document)


def _is_as_new(document: bytes, job: Job) -> bool:
    """Say whether a result is that of the job's object, or of an object that was put later."""
    try:
        standing = read_outcome(document)
    except ValueError:
        return False
    return standing.id == job.id or standing.created_at_s > job.created_at_s


def _is_deleted(document: bytes) -> bool:
    error = read_outcome(document).error
    return error is not None and error.code == JobDeleted.code
