"""Stores images in the input bucket, and then sends their messages to the input queue."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

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
    UploadTaken,
)
from beholder.file_lock import is_in_event_loop
from beholder.job import Job, JobInput, JobStatus, Message, Options, new_job_id, read_outcome
from beholder.job.ids import created_at_s, job_id_from_key
from beholder.queue.port import Priority
from beholder.results.outcomes import store_outcome
from beholder.store.keys import image_key, image_prefix, resent_key, result_key, webhook_key
from beholder.store.port import Store
from beholder.store.recovery import SendRecord
from beholder.web.ports import WebPorts
from beholder.web.submission.deletion import is_deleted
from beholder.web.submission.lookup import JobLookup, queued_job
from beholder.web.submission.request import Outcome, SubmissionRequest, Unsent
from beholder.web.submission.upload import StoredImage
from beholder.web.webhooks.record import WebhookRecord

__all__ = ["Submitter", "keyed_job_id"]

_KEYED_EPOCH_S = 0.0
_KEYED_FILE = "image"
_DEFAULTS = Options()
# S3 takes 2 KB of metadata, of which filters may take most; the rest are the digest and the store's own mark.
# Source: Amazon S3 user guide, Working with object metadata (2026-11).
_SUBMISSION_BYTES_MAX = 1900
# What JSON in ASCII has that S3 takes only escaped, as three bytes in place of one.
_ESCAPED, _ESCAPE_BYTES = " %", 2
# For so long a repetition of a key is refused, since the first message may not have been sent yet.
_LOST_AFTER_S = 60.0


_Leftovers = tuple[tuple[Store, str], ...]


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
        """Return the request's job id: the one that it names, that its key always gives, or a new one."""
        if request.stored is not None:
            return request.stored.job_id
        if request.job_id is not None:
            return request.job_id
        if request.idempotency_key is None:
            return new_job_id(self._ports.clock.now_s())
        return keyed_job_id(request.idempotency_key)

    def submit(
        self, batch: Sequence[tuple[str, SubmissionRequest | Unsent]]
    ) -> list[Job | Outcome | Unsent | BeholderError]:
        """Store every image, then send the messages together; every job returned is durable.

        Args:
            batch: Job ids and requests, or what an earlier call has left to send.

        Returns:
            For each request, in the same order: the new job; the outcome of the finished job with the same
            idempotency key; an error (`IdempotencyKeyInUse`, `IdempotencyKeyReused`, `BackendError`), after
            which nothing of the request is left; or, in an event loop, which cannot wait for the queue, its
            message.
        """
        results: list[Job | Outcome | Unsent | BeholderError] = list(
            self._ports.map_items(self._try_to_store, batch)
        )
        unsent = [(place, one) for place, one in enumerate(results) if isinstance(one, Unsent)]
        for priority in sorted(
            {one.priority for _, one in unsent}, key=lambda one: one & Priority.INTERACTIVE, reverse=True
        ):
            of_class = [(place, one) for place, one in unsent if one.priority == priority]
            error = self._send([one for _, one in of_class], priority)
            for place, one in of_class:
                if error is None:
                    results[place] = queued_job(one.message)
                elif not is_in_event_loop():
                    results[place] = error
        return results

    def _send(self, unsent: Sequence[Unsent], priority: Priority) -> BackendError | None:
        """Send the messages of one class; if that fails for good, delete what is new and return the error."""
        try:
            self._ports.queue.send([one.message.to_bytes() for one in unsent], priority=priority)
        except BackendError as exc:
            for one in unsent:
                if not is_in_event_loop():
                    _delete(one.leftovers)
            return exc
        self._ports.on_sent(len(unsent))
        return None

    def _try_to_store(
        self, item: tuple[str, SubmissionRequest | Unsent]
    ) -> Unsent | Outcome | RequestError | BackendError:
        """Do as `_store`, but return errors, since an error of one image must not affect the others."""
        job_id, request = item
        if isinstance(request, Unsent):
            return request
        try:
            stored, leftovers = self._store(job_id, request)
            if isinstance(stored, Message):
                leftovers = self._record(stored, request, leftovers)
        except (RequestError, BackendError) as exc:
            return exc
        return stored if isinstance(stored, Outcome) else Unsent(stored, request.priority, leftovers)

    def _store(self, job_id: str, request: SubmissionRequest) -> tuple[Message | Outcome, _Leftovers]:
        """Store one image.

        Returns:
            The message to send, or the outcome of an earlier job of the same key; and what must be deleted if
            the message cannot be sent.
        """
        if request.stored is not None:
            return self._take(request.stored, request)
        is_repeatable = request.is_repeatable
        key = image_key(job_id, _KEYED_FILE if is_repeatable else request.file_name)
        now_s = self._ports.clock.now_s()
        metadata = self._metadata(request, key, now_s)
        # The id of a job that was made otherwise was told to callers, so they can name it.
        if request.job_id and any(one.key != key for one in self._ports.images.list(image_prefix(job_id))):
            raise _reused(request)
        try:
            self._ports.images.put(key, request.data, metadata=metadata, only_if_absent=is_repeatable)
            leftovers: _Leftovers = ((self._ports.images, key),)
            if is_repeatable and (deleted := self._forget_gone(job_id, key)) is not None:
                return deleted, ()
        except ObjectExists:
            try:
                outcome = self._earlier(job_id, key, request, now_s)
            except ObjectNotFound as exc:  # deleted meanwhile, with its job
                raise IdempotencyKeyInUse from exc
            if outcome is None:
                # This resets the image's age, so that many repetitions of a key do not send as many messages.
                self._ports.images.put(key, request.data, metadata=metadata)
                outcome = self._lookup.outcome(job_id)
            if outcome is not None:
                if is_deleted(outcome):  # perhaps before that put, or its image was left
                    self._ports.images.delete(key)
                return outcome, ()
            leftovers = ()
        # A later lookup in the input bucket finds the same time: in the metadata, or in the id.
        at_s = now_s if request.job_id else created_at_s(job_id) or now_s
        message = self._message_of(StoredImage(job_id, key, len(request.data)), request, at_s)
        if request.recognised is not None:
            return self._finished(message, request.recognised, leftovers), ()
        return message, leftovers

    def _finished(self, message: Message, recognised: Job, leftovers: _Leftovers) -> Outcome:
        """Store the outcome of a job whose result is known, and return it.

        Raises:
            BackendError: It was not stored; nothing of the request is left.
        """
        job = Job(
            message.job_id,
            JobStatus.SUCCEEDED,
            message.created_at_s,
            completed_at_s=self._ports.clock.now_s(),
            model=recognised.model,
            model_version=recognised.model_version,
            input=message.input,
            result=recognised.result,
        )
        try:
            document = store_outcome(self._ports.results, job, wants_text=message.wants_text)
        except BackendError:
            _delete(leftovers)
            raise
        return Outcome(read_outcome(document), document)

    def _take(self, stored: StoredImage, request: SubmissionRequest) -> tuple[Message | Outcome, _Leftovers]:
        """Return the message of an image that is in the input bucket already, once.

        The claim is the one by which a lost message is sent again, so a lookup does not send it meanwhile.

        Raises:
            UploadTaken: The message was sent before, and the job has no outcome yet.
        """
        outcome = self._lookup.outcome(stored.job_id)
        if outcome is not None:
            return outcome, ()
        claim, now_s = resent_key(stored.job_id), self._ports.clock.now_s()
        # The image was sent before its request came, so the image's object has none of it.
        submission = self._submission(request, stored.key)
        submission |= {"model": request.model, "created_at_s": now_s}
        record = SendRecord(1, json.dumps(submission))
        try:
            self._ports.results.put(claim, record.to_bytes(), only_if_absent=True)
        except ObjectExists as exc:
            raise UploadTaken from exc
        message = self._message_of(stored, request, now_s)
        return message, ((self._ports.results, claim),)

    def _record(self, message: Message, request: SubmissionRequest, leftovers: _Leftovers) -> _Leftovers:
        """Store the record of a request's webhook, before its message is sent; return all leftovers.

        Where an earlier request of the same key was accepted, its record stays: it had the same webhook. A
        record of one that was not accepted is replaced.

        Raises:
            BackendError: The record was not stored; nothing of the request is left.
        """
        ports, webhook = self._ports, request.webhook
        if webhook is None or ports.webhooks is None or not webhook.is_recorded:
            return leftovers
        now_s, key = ports.clock.now_s(), webhook_key(message.job_id)
        record = WebhookRecord(message.job_id, webhook, ports.webhooks.owner, now_s, now_s)
        try:
            ports.results.put(key, record.to_bytes(), only_if_absent=not leftovers)
        except ObjectExists:
            return ()
        except BackendError:
            _delete(leftovers)
            raise
        return (*leftovers, (ports.results, key))

    def _message_of(self, stored: StoredImage, request: SubmissionRequest, created_at_s: float) -> Message:
        is_inline = request.stored is None and stored.size_bytes <= self._ports.inline_bytes_max
        return Message(
            job_id=stored.job_id,
            created_at_s=created_at_s,
            input=JobInput(stored.key, request.file_name, stored.size_bytes, request.options, request.tag),
            reply_to=self._ports.reply_to(),
            deadline_s=request.deadline_s,
            wants_text=request.wants_text,
            image=request.data if is_inline else None,
            model=request.model,
        )

    def _forget_gone(self, job_id: str, key: str) -> Outcome | None:
        """Delete the outcome of an earlier attempt that failed because its image was gone.

        A deleted job stays so: its outcome is returned, and the image is deleted again.

        The web tier refused that attempt and deleted its image although its message was sent: the answer of
        SQS was lost, or SQS took a part of the batch. One race remains: a worker may look for the image right
        before it is stored, and write the outcome right after this lookup. The key then names a failed job.
        """
        try:
            outcome = self._lookup.outcome(job_id)
            if outcome and outcome.job.error and outcome.job.error.code == ImageGone.code:
                self._ports.results.delete(result_key(job_id))
            if outcome and is_deleted(outcome):
                self._ports.images.delete(key)
                return outcome
        except BackendError:
            with contextlib.suppress(BackendError):
                self._ports.images.delete(key)
            raise
        return None

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
            raise _reused(request)
        outcome = self._lookup.outcome(job_id)
        if outcome is None and age_s(now_s, info.stored_at_s) < _LOST_AFTER_S:
            raise IdempotencyKeyInUse
        return outcome

    def _metadata(self, request: SubmissionRequest, key: str, now_s: float) -> dict[str, str]:
        """Return the metadata from which a lost message can be restored; empty for default options."""
        metadata = {}
        if request.is_repeatable:
            metadata["digest"] = _digest(request)
        submission = self._submission(request, key)
        if request.job_id is not None:  # its time is that of another clock, or of another job
            submission["created_at_s"] = now_s
        if submission:
            text = json.dumps(submission, separators=(",", ":"))
            if len(text) + _ESCAPE_BYTES * sum(text.count(one) for one in _ESCAPED) > _SUBMISSION_BYTES_MAX:
                submission.pop("file_name", None)
                text = json.dumps(submission, separators=(",", ":"))
            metadata["order"] = text
        return metadata

    def _submission(self, request: SubmissionRequest, key: str) -> dict[str, object]:
        """Return what a request asks for, where it is not the default and the image's key does not say it."""
        submission: dict[str, object] = {}
        if request.options != _DEFAULTS:
            submission["options"] = _given(request.options)
        if request.model not in (None, self._ports.models[0].reference):
            submission["model"] = request.model
        if request.file_name != key.rpartition("/")[2]:
            submission["file_name"] = request.file_name
        if request.tag is not None:
            submission["tag"] = request.tag
        return submission


def keyed_job_id(key: str) -> str:
    """Return the job id that an idempotency key always gives."""
    return job_id_from_key("", key, epoch_s=_KEYED_EPOCH_S)


def _reused(request: SubmissionRequest) -> IdempotencyKeyReused:
    if request.job_id is None:
        return IdempotencyKeyReused()
    return IdempotencyKeyReused(
        "the job of this id has another image or other options; take a new id for a new job"
    )


def _delete(leftovers: _Leftovers) -> None:
    for store, key in leftovers:
        with contextlib.suppress(BackendError):
            store.delete(key)


def _digest(request: SubmissionRequest) -> str:
    digest = hashlib.sha256(json.dumps(_given(request.options), sort_keys=True).encode())
    if request.webhook is not None:
        digest.update(json.dumps([request.webhook.url, request.webhook.events]).encode())
    if request.tag is not None:
        digest.update(json.dumps({"tag": request.tag}).encode())
    digest.update(request.data)
    return digest.hexdigest()


def _given(options: Options) -> dict[str, object]:
    """Return the options as a document, without filters that name no class and a false `embed`.

    So it is as versions wrote it that did not know them.
    """
    return {name: value for name, value in asdict(options).items() if value != () and value is not False}
