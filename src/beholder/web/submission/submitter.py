"""Takes one image in: first the image into the bucket, then the message onto the queue."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from beholder.clock import age_s
from beholder.errors import (
    BackendError,
    BeholderError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ImageGone,
    ObjectExists,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Job, JobInput, JobStatus, Message, Options, new_job_id, read_outcome
from beholder.job.ids import created_at_s, job_id_from_key
from beholder.queue.port import Priority
from beholder.store.keys import image_key, image_prefix, resent_key, result_key
from beholder.store.recovery import message_of
from beholder.telemetry.log import get_logger, log_event
from beholder.web.ports import WebPorts
from beholder.web.submission.pending import Outcome

__all__ = ["SubmissionRequest", "Submitter"]

_log = get_logger(__name__)

_KEYED_EPOCH_S = 0.0
_KEYED_FILE = "image"
# A repetition waits for as long, in case the first sending is still under way.
_LOST_AFTER_S = 60.0
# An image this old, without outcome and beside an empty queue, has no message: a send takes less time.
_SETTLED_S = 10.0
# A job that waits for longer is sent once more though its message may be there.
_OLD_S = 3600.0
_RESEND_S = 60.0
_RESENT_MAX = 10


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What one request asks for.

    Args:
        data: The image file.
        file_name: As sent; also names the object.
        options: For the classifier.
        wants_text: The caller is a classic client that expects the label as text.
        deadline_s: After this time the answer is worth nothing, seconds since the Unix epoch.
        idempotency_key: Names this request across repetitions, or None.
        trace: The caller's trace context.
        priority: The class of its message.
    """

    data: bytes
    file_name: str
    options: Options
    wants_text: bool = False
    deadline_s: float | None = None
    idempotency_key: str | None = None
    trace: str | None = None
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class _Unsent:
    place: int
    message: Message
    is_new: bool


class Submitter:
    """Turns orders into jobs; its methods block, so the web tier calls them in threads.

    Args:
        ports: What the web tier works with.
    """

    def __init__(self, ports: WebPorts) -> None:
        self._ports = ports

    def new_job_id(self, submission: SubmissionRequest) -> str:
        """Return the order's job id: fresh, or the one that its idempotency key always gives."""
        if submission.idempotency_key is None:
            return new_job_id(self._ports.clock.now_s())
        return job_id_from_key("", submission.idempotency_key, epoch_s=_KEYED_EPOCH_S)

    def accept(self, batch: Sequence[tuple[str, SubmissionRequest]]) -> list[Job | Outcome | BeholderError]:
        """Store every image, then send the messages together; what was accepted is durable on return.

        Args:
            batch: Job ids and orders.

        Returns:
            In the same order, for each: the new job; the outcome where the idempotency key names a finished
            one; or why it was not accepted (`IdempotencyKeyInUse`, `IdempotencyKeyReused`, `BackendError`),
            in which case nothing of it is left behind.
        """
        results: list[Job | Outcome | BeholderError] = []
        classes: dict[Priority, list[_Unsent]] = {}
        for (_, submission), (stored, is_new) in zip(
            batch, self._ports.map_items(self._try_to_store, batch), strict=True
        ):
            if isinstance(stored, Message):
                classes.setdefault(submission.priority, []).append(_Unsent(len(results), stored, is_new))
                results.append(_job_of(stored))
            else:
                results.append(stored)
        for priority in sorted(classes, key=lambda one: one & Priority.INTERACTIVE, reverse=True):
            if (error := self._send(classes[priority], priority)) is not None:
                for one in classes[priority]:
                    results[one.place] = error
        return results

    def _send(self, unsent: Sequence[_Unsent], priority: Priority) -> BackendError | None:
        """Send messages of one class; where that fails, take back what was stored, and return why."""
        try:
            self._ports.queue.send([one.message.to_bytes() for one in unsent], priority=priority)
        except BackendError as exc:
            for one in unsent:
                if one.is_new:
                    with contextlib.suppress(BackendError):
                        self._ports.images.delete(one.message.input.image_key)
            return exc
        self._ports.on_sent(len(unsent))
        return None

    def _try_to_store(
        self, named: tuple[str, SubmissionRequest]
    ) -> tuple[Message | Outcome | RequestError | BackendError, bool]:
        """Do as `_store`, and return what is wrong: one image's trouble is no other's."""
        try:
            return self._store(*named)
        except (RequestError, BackendError) as exc:
            return exc, False

    def _store(self, job_id: str, submission: SubmissionRequest) -> tuple[Message | Outcome, bool]:
        """Store one image.

        Returns:
            The message to send, or the outcome of an earlier job of the same key; and whether the image was
            stored by this call.
        """
        keyed = submission.idempotency_key is not None
        key = image_key(job_id, _KEYED_FILE if keyed else submission.file_name)
        now_s = self._ports.clock.now_s()
        try:
            self._ports.images.put(key, submission.data, metadata=_metadata(submission), only_if_absent=keyed)
            is_new = True
            if keyed:
                self._forget_gone(job_id, key)
        except ObjectExists:
            outcome = self._earlier(job_id, key, submission, now_s)
            if outcome is not None:
                return outcome, False
            # Its time begins anew, so that many repetitions of one key are not as many messages.
            self._ports.images.put(key, submission.data, metadata=_metadata(submission))
            is_new = False
        message = Message(
            job_id=job_id,
            # The id's own time: the same that a look into the input bucket finds later.
            created_at_s=created_at_s(job_id) or now_s,
            input=JobInput(key, submission.file_name, len(submission.data), submission.options),
            reply_to=self._ports.reply_to(),
            deadline_s=submission.deadline_s,
            wants_text=submission.wants_text,
            trace=submission.trace,
            image=submission.data if len(submission.data) <= self._ports.inline_bytes_max else None,
        )
        return message, is_new

    def _forget_gone(self, job_id: str, key: str) -> None:
        """Remove the outcome of an earlier attempt whose image was taken back, now that the image is here.

        That attempt was refused although its message was sent: SQS took it and could not tell, or took a part
        of its batch. A worker that looks for the image right before it is here, and writes right after this
        look, is not noticed; the key then names a job that failed.
        """
        try:
            outcome = self.look(job_id)
            if outcome and outcome.job.error and outcome.job.error.code == ImageGone.code:
                self._ports.results.delete(result_key(job_id))
        except BackendError:
            with contextlib.suppress(BackendError):
                self._ports.images.delete(key)
            raise

    def look(self, job_id: str) -> Outcome | None:
        """Return the job's outcome from the output bucket, or None while there is none to be read."""
        try:
            return self._read(job_id)
        except ValueError as exc:  # a power cut can leave an empty file; the worker writes it again
            log_event(_log, logging.ERROR, "submission.unreadable", str(exc), job_id=job_id)
            return None

    def find(self, job_id: str) -> Outcome | Job | None:
        """Return the unfinished job that the input bucket knows, or its outcome if that has come meanwhile.

        A job whose message is lost is sent again, so that nobody is told `queued` for ever.
        """
        for info in self._ports.images.list(image_prefix(job_id)):
            whole = self._ports.images.head(info.key)
            message = message_of(job_id, whole)
            try:
                outcome, is_torn = self._read(job_id), False
            except ValueError:
                outcome, is_torn = None, True
            if outcome is not None:
                return outcome
            self._send_if_lost(message, whole.stored_at_s, is_torn=is_torn)
            return _job_of(message)
        return self.look(job_id)

    def _read(self, job_id: str) -> Outcome | None:
        """Return the job's outcome, or None; raises ValueError where what stands there is no such thing."""
        try:
            document = self._ports.results.get(result_key(job_id))
        except ObjectNotFound:
            return None
        return Outcome(read_outcome(document, job_id=job_id), document)

    def _send_if_lost(self, message: Message, stored_at_s: float, *, is_torn: bool) -> None:
        """Send a job's message again where it is gone, or may be.

        A torn outcome shows that the message was worked on. Otherwise it is gone where the queue is empty and
        the image older than the queue's counts; a queue that is never empty does not tell, so an old image
        counts. One that is still there costs a second run: the first outcome stands.
        """
        ports, now_s = self._ports, self._ports.clock.now_s()
        try:
            if not is_torn and age_s(now_s, stored_at_s) < _OLD_S:
                depth = ports.queue.depth()
                is_empty = depth.backlog + depth.in_flight + depth.delayed == 0
                if not is_empty or age_s(now_s, stored_at_s) < _SETTLED_S + ports.depth_lag_s:
                    return
            if not self._claim_sending(message.job_id, now_s):
                return
            ports.queue.send([replace(message, reply_to=ports.reply_to()).to_bytes()])
            ports.on_sent(1)
        except BackendError as exc:  # the answer is true without it, and the next look tries again
            log_event(_log, logging.WARNING, "submission.not_resent", exc.message, job_id=message.job_id)
            return
        log_event(_log, logging.WARNING, "submission.resent", "its message was lost", job_id=message.job_id)

    def _claim_sending(self, job_id: str, now_s: float) -> bool:
        """Say whether a lost message may be sent again now: each pause is four times as long as the last."""
        key, count = resent_key(job_id), 0
        try:
            self._ports.results.put(key, b"1", only_if_absent=True)
        except ObjectExists:
            try:
                stored_at_s = self._ports.results.head(key).stored_at_s
                count = min(int(self._ports.results.get(key)), _RESENT_MAX)
            except ObjectNotFound:
                return False
            except ValueError:  # torn: it counts as the first
                count = 1
            if age_s(now_s, stored_at_s) < _RESEND_S * 4 ** max(0, count - 1):
                return False
            self._ports.results.put(key, b"%d" % (count + 1))
        return True

    def _earlier(self, job_id: str, key: str, submission: SubmissionRequest, now_s: float) -> Outcome | None:
        """Return the earlier job's outcome; None where its message may be lost and must be sent again."""
        info = self._ports.images.head(key)
        # Torn metadata holds no digest; then the images are compared, of which one may be torn too.
        digest = info.metadata.get("digest")
        is_same = (
            digest == _digest(submission) if digest else self._ports.images.get(key) in {submission.data, b""}
        )
        if not is_same:
            raise IdempotencyKeyReused
        outcome = self.look(job_id)
        if outcome is None and age_s(now_s, info.stored_at_s) < _LOST_AFTER_S:
            raise IdempotencyKeyInUse
        return outcome


def _job_of(message: Message) -> Job:
    return Job(
        message.job_id,
        JobStatus.QUEUED,
        message.created_at_s,
        model=message.input.options.model,
        input=message.input,
    )


def _metadata(submission: SubmissionRequest) -> dict[str, str]:
    """Return what the image object must tell when the message is gone; nothing for an order of defaults."""
    document: dict[str, object] = {}
    if submission.options != Options():
        document["options"] = asdict(submission.options)
    metadata = {}
    if submission.idempotency_key is not None:
        document["file_name"] = submission.file_name
        metadata["digest"] = _digest(submission)
    if document:
        metadata["order"] = json.dumps(document)
    return metadata


def _digest(submission: SubmissionRequest) -> str:
    digest = hashlib.sha256(json.dumps(asdict(submission.options), sort_keys=True).encode())
    digest.update(submission.data)
    return digest.hexdigest()
