"""Finds jobs in the buckets, and sends the message of a job again if it is lost."""

import logging
from dataclasses import replace

from beholder.clock import age_s
from beholder.errors import BackendError, ObjectExists, ObjectNotFound
from beholder.job import Job, JobStatus, Message, read_outcome
from beholder.store.keys import image_prefix, resent_key, result_key
from beholder.store.recovery import message_of
from beholder.telemetry.log import log_event
from beholder.web.ports import WebPorts
from beholder.web.submission.request import Outcome

__all__ = ["JobLookup", "queued_job"]

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

    def find(self, job_id: str) -> Outcome | Job | None:
        """Return the job's outcome, or the unfinished job if its image is stored; otherwise None.

        A lost message is sent again, so that no job stays `queued` for ever.
        """
        finished = self.outcome(job_id)
        if finished is not None:
            return finished
        for info in self._ports.images.list(image_prefix(job_id)):
            image = self._ports.images.head(info.key)
            message = message_of(job_id, image)
            try:
                finished, is_torn = self._read(job_id), False
            except ValueError:
                finished, is_torn = None, True
            if finished is not None:
                return finished
            self._send_if_lost(message, image.stored_at_s, is_torn=is_torn)
            return queued_job(message)
        return self.outcome(job_id)

    def _read(self, job_id: str) -> Outcome | None:
        """Return the job's outcome, or None; raise ValueError if the stored document is no outcome."""
        try:
            document = self._ports.results.get(result_key(job_id))
        except ObjectNotFound:
            return None
        return Outcome(read_outcome(document, job_id=job_id), document)

    def _send_if_lost(self, message: Message, stored_at_s: float, *, is_torn: bool) -> None:
        """Send a job's message again if it is lost, or may be.

        A torn outcome shows that a worker had the message. Otherwise the message is lost if the queue is
        empty and the image is older than the queue's counts. A queue that is never empty does not show that,
        so the image's age decides. If the message was not lost, the job runs twice, and the first outcome
        stands.
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
        except BackendError as exc:  # the answer is correct all the same, and the next lookup tries again
            log_event(_log, logging.WARNING, "submission.not_resent", exc.message, job_id=message.job_id)
            return
        log_event(_log, logging.WARNING, "submission.resent", "its message was lost", job_id=message.job_id)

    def _claim_sending(self, job_id: str, now_s: float) -> bool:
        """Return whether a lost message may be sent again now; each pause is four times the last one."""
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


def queued_job(message: Message) -> Job:
    """Return the job of a message that no worker has finished."""
    return Job(
        message.job_id,
        JobStatus.QUEUED,
        message.created_at_s,
        model=message.input.options.model,
        input=message.input,
    )
