"""Takes one image in: first the image into the bucket, then the message onto the queue."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

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
from beholder.job import Job, JobInput, JobStatus, Message, Options, new_job_id
from beholder.job.ids import created_at_s, job_id_from_key
from beholder.store.keys import image_key, image_prefix, result_key
from beholder.telemetry.log import get_logger, say
from beholder.web.ports import WebPorts
from beholder.web.replies import read_outcome
from beholder.web.waiters import Outcome

__all__ = ["Intake", "Order"]

_log = get_logger(__name__)

_KEYED_EPOCH_S = 0.0
_KEYED_FILE = "image"
# A repetition waits for as long, in case the first sending is still under way.
_LOST_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """What one request asks for.

    Args:
        data: The image file.
        file_name: As sent; also names the object.
        options: For the classifier.
        wants_text: The caller is a classic client that expects the label as text.
        deadline_s: After this time the answer is worth nothing, seconds since the Unix epoch.
        idempotency_key: Names this request across repetitions, or None.
        trace: The caller's trace context.
    """

    data: bytes
    file_name: str
    options: Options
    wants_text: bool = False
    deadline_s: float | None = None
    idempotency_key: str | None = None
    trace: str | None = None


class Intake:
    """Turns orders into jobs; its methods block, so the web tier calls them in threads.

    Args:
        ports: What the web tier works with.
    """

    def __init__(self, ports: WebPorts) -> None:
        """Take the ports."""
        self._ports = ports

    def new_job_id(self, order: Order) -> str:
        """Return the order's job id: fresh, or the one that its idempotency key always gives."""
        if order.idempotency_key is None:
            return new_job_id(self._ports.clock.now_s())
        return job_id_from_key("", order.idempotency_key, epoch_s=_KEYED_EPOCH_S)

    def accept(self, batch: Sequence[tuple[str, Order]]) -> list[Job | Outcome | BeholderError]:
        """Store every image, then send the messages together; what was accepted is durable on return.

        Args:
            batch: Job ids and orders.

        Returns:
            In the same order, for each: the new job; the outcome where the idempotency key names a finished
            one; or why it was not accepted (`IdempotencyKeyInUse`, `IdempotencyKeyReused`, `BackendError`),
            in which case nothing of it is left behind.
        """
        results: list[Job | Outcome | BeholderError] = []
        messages: list[Message] = []
        stored_now: list[str] = []
        for stored, is_new in self._ports.each(self._try_to_store, batch):
            if isinstance(stored, Message):
                messages.append(stored)
                stored_now += [stored.input.image_key] if is_new else []
                results.append(_job_of(stored))
            else:
                results.append(stored)
        try:
            if messages:
                self._ports.queue.send([message.to_bytes() for message in messages])
                self._ports.on_sent(len(messages))
        except BackendError as exc:
            for key in stored_now:
                with contextlib.suppress(BackendError):
                    self._ports.images.delete(key)
            return [exc if isinstance(one, Job) else one for one in results]
        return results

    def _try_to_store(
        self, named: tuple[str, Order]
    ) -> tuple[Message | Outcome | RequestError | BackendError, bool]:
        """Do as `_store`, and return what is wrong: one image's trouble is no other's."""
        try:
            return self._store(*named)
        except (RequestError, BackendError) as exc:
            return exc, False

    def _store(self, job_id: str, order: Order) -> tuple[Message | Outcome, bool]:
        """Store one image.

        Returns:
            The message to send, or the outcome of an earlier job of the same key; and whether the image was
            stored by this call.
        """
        keyed = order.idempotency_key is not None
        key = image_key(job_id, _KEYED_FILE if keyed else order.file_name)
        now_s = self._ports.clock.now_s()
        try:
            self._ports.images.put(key, order.data, metadata=_metadata(order), only_if_absent=keyed)
            is_new = True
            if keyed:
                self._forget_gone(job_id, key)
        except ObjectExists:
            outcome = self._earlier(job_id, key, order, now_s)
            if outcome is not None:
                return outcome, False
            # Its time begins anew, so that many repetitions of one key are not as many messages.
            self._ports.images.put(key, order.data, metadata=_metadata(order))
            is_new = False
        message = Message(
            job_id=job_id,
            # The id's own time: the same that a look into the input bucket finds later.
            created_at_s=created_at_s(job_id) or now_s,
            input=JobInput(key, order.file_name, len(order.data)),
            options=order.options,
            reply_to=self._ports.reply_to(),
            deadline_s=order.deadline_s,
            wants_text=order.wants_text,
            trace=order.trace,
            image=order.data if len(order.data) <= self._ports.inline_bytes_max else None,
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
        """Return the job's outcome from the output bucket, or None while there is none."""
        try:
            return read_outcome(self._ports.results.get(result_key(job_id)))
        except ObjectNotFound:
            return None
        except ValueError as exc:  # a power cut can leave an empty file; the worker writes it again
            say(_log, logging.ERROR, "intake.unreadable", str(exc), job_id=job_id)
            return None

    def find(self, job_id: str) -> Job | None:
        """Return the unfinished job that the input bucket knows, or None."""
        for info in self._ports.images.list(image_prefix(job_id)):
            whole = self._ports.images.head(info.key)
            order = json.loads(whole.metadata.get("order", "{}"))
            return Job(
                id=job_id,
                status=JobStatus.QUEUED,
                created_at_s=created_at_s(job_id) or info.stored_at_s,
                options=Options(**order.get("options", {})),
                input=JobInput(
                    info.key, order.get("file_name", info.key.rpartition("/")[2]), info.size_bytes
                ),
            )
        return None

    def _earlier(self, job_id: str, key: str, order: Order, now_s: float) -> Outcome | None:
        """Return the earlier job's outcome; None where its message may be lost and must be sent again."""
        info = self._ports.images.head(key)
        if info.metadata.get("digest") != _digest(order):
            raise IdempotencyKeyReused
        outcome = self.look(job_id)
        if outcome is None and now_s - info.stored_at_s < _LOST_AFTER_S:
            raise IdempotencyKeyInUse
        return outcome


def _job_of(message: Message) -> Job:
    return Job(message.job_id, JobStatus.QUEUED, message.created_at_s, message.options, message.input)


def _metadata(order: Order) -> dict[str, str]:
    """Return what the image object must tell when the message is gone; nothing for an order of defaults."""
    document: dict[str, object] = {}
    if order.options != Options():
        document["options"] = asdict(order.options)
    metadata = {}
    if order.idempotency_key is not None:
        document["file_name"] = order.file_name
        metadata["digest"] = _digest(order)
    if document:
        metadata["order"] = json.dumps(document)
    return metadata


def _digest(order: Order) -> str:
    digest = hashlib.sha256(json.dumps(asdict(order.options), sort_keys=True).encode())
    digest.update(order.data)
    return digest.hexdigest()
