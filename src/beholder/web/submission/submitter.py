"""Stores images in the input bucket, and then sends their messages to the input queue."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from beholder.clock import age_s
from beholder.errors import (
    BackendError,
    BeholderError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ImageGone,
    ObjectExists,
    RequestError,
)
from beholder.job import Job, JobInput, Message, Options, new_job_id
from beholder.job.ids import created_at_s, job_id_from_key
from beholder.queue.port import Priority
from beholder.store.keys import image_key, result_key
from beholder.web.ports import WebPorts
from beholder.web.submission.lookup import JobLookup, queued_job
from beholder.web.submission.request import Outcome, SubmissionRequest

__all__ = ["Submitter", "keyed_job_id"]

_KEYED_EPOCH_S = 0.0
_KEYED_FILE = "image"
# For so long a repetition of a key is refused, since the first message may not have been sent yet.
_LOST_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class _Unsent:
    place: int
    message: Message
    is_new: bool


class Submitter:
    """Stores images and sends messages; its methods block, so the web tier calls them in threads.

    Args:
        ports: What the web tier works with.
        lookup: Finds the outcome of an earlier job of the same idempotency key.
    """

    def __init__(self, ports: WebPorts, lookup: JobLookup) -> None:
        self._ports = ports
        self._lookup = lookup

    def new_job_id(self, request: SubmissionRequest) -> str:
        """Return the request's job id: a new id, or the id that its idempotency key always gives."""
        if request.idempotency_key is None:
            return new_job_id(self._ports.clock.now_s())
        return keyed_job_id(request.idempotency_key)

    def submit(self, batch: Sequence[tuple[str, SubmissionRequest]]) -> list[Job | Outcome | BeholderError]:
        """Store every image, then send the messages together; every job returned is durable.

        Args:
            batch: Job ids and requests.

        Returns:
            For each request, in the same order: the new job; the outcome of the finished job with the same
            idempotency key; or an error (`IdempotencyKeyInUse`, `IdempotencyKeyReused`, `BackendError`),
            after which nothing of the request is left.
        """
        results: list[Job | Outcome | BeholderError] = []
        classes: dict[Priority, list[_Unsent]] = {}
        for (_, request), (stored, is_new) in zip(
            batch, self._ports.map_items(self._try_to_store, batch), strict=True
        ):
            if isinstance(stored, Message):
                classes.setdefault(request.priority, []).append(_Unsent(len(results), stored, is_new))
                results.append(queued_job(stored))
            else:
                results.append(stored)
        for priority in sorted(classes, key=lambda one: one & Priority.INTERACTIVE, reverse=True):
            if (error := self._send(classes[priority], priority)) is not None:
                for one in classes[priority]:
                    results[one.place] = error
        return results

    def _send(self, unsent: Sequence[_Unsent], priority: Priority) -> BackendError | None:
        """Send the messages of one class; if that fails, delete the new images and return the error."""
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
        self, item: tuple[str, SubmissionRequest]
    ) -> tuple[Message | Outcome | RequestError | BackendError, bool]:
        """Do as `_store`, but return errors, since an error of one image must not affect the others."""
        try:
            return self._store(*item)
        except (RequestError, BackendError) as exc:
            return exc, False

    def _store(self, job_id: str, request: SubmissionRequest) -> tuple[Message | Outcome, bool]:
        """Store one image.

        Returns:
            The message to send, or the outcome of an earlier job of the same key; and whether the image is
            new.
        """
        is_keyed = request.idempotency_key is not None
        key = image_key(job_id, _KEYED_FILE if is_keyed else request.file_name)
        now_s = self._ports.clock.now_s()
        try:
            self._ports.images.put(key, request.data, metadata=_metadata(request), only_if_absent=is_keyed)
            is_new = True
            if is_keyed:
                self._forget_gone(job_id, key)
        except ObjectExists:
            outcome = self._earlier(job_id, key, request, now_s)
            if outcome is not None:
                return outcome, False
            # This resets the image's age, so that many repetitions of one key do not send as many messages.
            self._ports.images.put(key, request.data, metadata=_metadata(request))
            is_new = False
        message = Message(
            job_id=job_id,
            # The time in the id, which a later lookup in the input bucket finds, too.
            created_at_s=created_at_s(job_id) or now_s,
            input=JobInput(key, request.file_name, len(request.data), request.options),
            reply_to=self._ports.reply_to(),
            deadline_s=request.deadline_s,
            wants_text=request.wants_text,
            image=request.data if len(request.data) <= self._ports.inline_bytes_max else None,
        )
        return message, is_new

    def _forget_gone(self, job_id: str, key: str) -> None:
        """Delete the outcome of an earlier attempt that failed because its image was gone.

        The web tier refused that attempt and deleted its image although its message was sent: the answer of
        SQS was lost, or SQS took a part of the batch. One race remains: a worker may look for the image right
        before it is stored, and write the outcome right after this lookup. The key then names a failed job.
        """
        try:
            outcome = self._lookup.outcome(job_id)
            if outcome and outcome.job.error and outcome.job.error.code == ImageGone.code:
                self._ports.results.delete(result_key(job_id))
        except BackendError:
            with contextlib.suppress(BackendError):
                self._ports.images.delete(key)
            raise

    def _earlier(self, job_id: str, key: str, request: SubmissionRequest, now_s: float) -> Outcome | None:
        """Return the earlier job's outcome; None if its message may be lost and must be sent again.

        Raises:
            IdempotencyKeyReused: The earlier job had another image or other options.
            IdempotencyKeyInUse: The earlier job may still be running.
        """
        info = self._ports.images.head(key)
        # Torn metadata has no digest; then the images are compared, and the stored one may be torn, too.
        digest = info.metadata.get("digest")
        is_same = digest == _digest(request) if digest else self._ports.images.get(key) in {request.data, b""}
        if not is_same:
            raise IdempotencyKeyReused
        outcome = self._lookup.outcome(job_id)
        if outcome is None and age_s(now_s, info.stored_at_s) < _LOST_AFTER_S:
            raise IdempotencyKeyInUse
        return outcome


def keyed_job_id(key: str) -> str:
    """Return the job id that an idempotency key always gives."""
    return job_id_from_key("", key, epoch_s=_KEYED_EPOCH_S)


def _metadata(request: SubmissionRequest) -> dict[str, str]:
    """Return the metadata from which a lost message can be restored; empty for default options."""
    document: dict[str, object] = {}
    if request.options != Options():
        document["options"] = asdict(request.options)
    metadata = {}
    if request.idempotency_key is not None:
        document["file_name"] = request.file_name
        metadata["digest"] = _digest(request)
    if document:
        metadata["order"] = json.dumps(document)
    return metadata


def _digest(request: SubmissionRequest) -> str:
    digest = hashlib.sha256(json.dumps(asdict(request.options), sort_keys=True).encode())
    digest.update(request.data)
    return digest.hexdigest()
