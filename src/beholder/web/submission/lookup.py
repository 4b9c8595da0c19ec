"""Finds jobs in the buckets, and sends the message of a job again if it is lost."""

import logging
from dataclasses import replace

from beholder.clock import age_s
from beholder.errors import BackendError, ObjectExists, ObjectNotFound
from beholder.job import Job, JobStatus, Message, read_outcome
from beholder.store.keys import image_prefix, resent_key, result_key
from beholder.store.recovery import SendRecord, is_unsubmitted, message_of
from beholder.telemetry.log import log_event
from beholder.web.ports import WebPorts
from beholder.web.submission.request import Outcome

__all__ = ["JobLookup", "queued_job", "running_job"]

_log = logging.getLogger(__name__)

# If the queue is empty, an image this old without an outcome has no message, since a send takes less time.
_SETTLED_S = 10.0
# The message of a job that is older than this is sent again even if the first one may still exist.
_OLD_S = 3600.0
_RESEND_S = 60.0
_RESENT_MAX = 10


class JobLookup:
    """Finds jobs in the buckets; its methods block, so the web tier calls them in threads.

    Args:
        ports: What the web tier works with.
    """

    def __init__(self, ports: WebPorts) -> None:
        self._ports = ports

    def outcome(self, job_id: str) -> Outcome | None:
        """Return the job's outcome from the output bucket; None if there is none, or it cannot be read."""
        try:
            return self._read(job_id)
        except ValueError as exc:  # a power cut can leave an empty file; the worker writes it again
            log_event(_log, logging.ERROR, "submission.unreadable", str(exc), job_id=job_id)
            return None

    def find(
        self, job_id: str, *, is_unsure: bool = False, is_read_only: bool = False
    ) -> Outcome | Job | None:
        """Return the job's outcome, or the unfinished job if its image is stored; otherwise None.

        A lost message is sent again, so that no job stays `queued` for ever.

        Args:
            job_id: The job.
            is_unsure: The message may never have been sent, so it is, even if that makes two.
            is_read_only: Nothing is sent.
        """
        finished = self.outcome(job_id)
        if finished is not None:
            return finished
        for info in self._ports.images.list(image_prefix(job_id)):
            if is_unsubmitted(self._ports.results, job_id, info.key):
                continue
            try:
                image = self._ports.images.head(info.key)
            except ObjectNotFound:  # deleted meanwhile, with its job
                continue
            message = message_of(job_id, image, self._ports.results)
            if message.model is None and message.input.options.model is None:
                message = replace(message, model=self._ports.models[0].reference)
            # Read before the outcome is looked for once more: a job that has one is not said to run.
            running_since_s = self._ports.running().get(job_id)
            try:
                finished, is_torn = self._read(job_id), False
            except ValueError:
                finished, is_torn = None, True
            if finished is not None:
                return finished
            if running_since_s is not None:
                return running_job(queued_job(message), running_since_s)
            if is_read_only:
                return queued_job(message)
            # An image that was sent by a link may be much older than its job.
            self._send_if_lost(
                message, max(image.stored_at_s, message.created_at_s), is_lost=is_torn or is_unsure
            )
            return queued_job(message)
        return self.outcome(job_id)

    def now(self, job: Job) -> Job:
        """Return an unfinished job as it is at present: queued or running."""
        since_s = self._ports.running().get(job.id)
        return job if since_s is None else running_job(job, since_s)

    def _read(self, job_id: str) -> Outcome | None:
        """Return the job's outcome, or None; raise ValueError if the stored document is no outcome."""
        try:
            document = self._ports.results.get(result_key(job_id))
        except ObjectNotFound:
            return None
        return Outcome(read_outcome(document, job_id=job_id), document)

    def _send_if_lost(self, message: Message, sent_at_s: float, *, is_lost: bool) -> None:
        """Send a job's message again if it is lost, or may be.

        A torn outcome shows that a worker had the message (`is_lost`). Otherwise the message is lost if the
        queue is empty and the image is older than the queue's counts. A queue that is never empty does not
        show that, so the image's age decides. If the message was not lost, the job runs twice, and the first
        outcome stands.
        """
        ports, now_s = self._ports, self._ports.clock.now_s()
        try:
            if not is_lost and age_s(now_s, sent_at_s) < _OLD_S:
                depth = ports.queue.depth()
                is_empty = depth.backlog + depth.in_flight + depth.delayed == 0
                if not is_empty or age_s(now_s, sent_at_s) < _SETTLED_S + ports.depth_lag_s:
                    return
            if not self._claim_sending(message.job_id, now_s):
                return
            ports.queue.send([replace(message, reply_to=ports.reply_to()).to_bytes()])
            ports.on_sent(1)
        except BackendError as exc:  # the answer is correct all the same, and the next lookup tries again
            log_event(_log, logging.WARNING, "submission.not_resent", exc.message, job_id=message.job_id)
            return
        log_event(_log, logging.WARNING, "submission.resent", "its message was lost", job_id=message.job_id)

    def _claim_sending(self, job_id: str, now_s: float) -> bool:
        """Return whether a lost message may be sent again now; each pause is four times the last one."""
        key = resent_key(job_id)
        try:
            self._ports.results.put(key, SendRecord(1).to_bytes(), only_if_absent=True)
        except ObjectExists:
            try:
                stored_at_s = self._ports.results.head(key).stored_at_s
                record = SendRecord.from_bytes(self._ports.results.get(key))
            except ObjectNotFound:
                return False
            pauses = min(max(record.count, 1), _RESENT_MAX) - 1
            if age_s(now_s, stored_at_s) < _RESEND_S * 4**pauses:
                return False
            # It also has what was asked for an image that was sent by a link.
            self._ports.results.put(key, replace(record, count=record.count + 1).to_bytes())
        return True


def running_job(job: Job, since_s: float) -> Job:
    """Return a job that a worker has received and not finished."""
    return replace(job, status=JobStatus.RUNNING, started_at_s=max(since_s, job.created_at_s))


def queued_job(message: Message) -> Job:
    """Return the job of a message that no worker has finished."""
    model, version = message.model_and_version
    return Job(
        message.job_id,
        JobStatus.QUEUED,
        message.created_at_s,
        model=model,
        model_version=version,
        input=message.input,
    )
