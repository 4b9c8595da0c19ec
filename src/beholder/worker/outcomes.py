"""A job's outcome: how it is written down once, and how the one who waits hears of it."""

import json
import logging
from collections.abc import Callable, Collection, Sequence

from beholder.errors import BackendError, JobExpired, ObjectExists
from beholder.job import Failure, Job, JobStatus, Message
from beholder.queue.port import Queue
from beholder.store.keys import result_key, text_key
from beholder.store.port import Store
from beholder.telemetry.log import get_logger, say

__all__ = ["failed_job", "reply", "store"]

_log = get_logger(__name__)


def failed_job(message: Message, failure: Failure, now_s: float, *, started_at_s: float | None = None) -> Job:
    """Return the outcome of a job that failed or expired."""
    expired = failure.code == JobExpired.code
    return Job(
        id=message.job_id,
        status=JobStatus.EXPIRED if expired else JobStatus.FAILED,
        created_at_s=message.created_at_s,
        options=message.options,
        input=message.input,
        started_at_s=started_at_s,
        completed_at_s=now_s,
        model=message.options.model,
        error=failure,
    )


def store(results: Store, jobs: Sequence[Job], texts_for: Collection[str] = ()) -> list[bytes]:
    """Write every outcome to the output bucket, and return the documents that stand there now.

    Args:
        results: The output bucket.
        jobs: The outcomes.
        texts_for: Ids of the jobs whose best label is also wanted as plain text.
    """
    documents = []
    for job in jobs:
        standing, document = _written_once(results, job)
        if job.id in texts_for and standing.labels:
            results.put(text_key(job.id), standing.labels[0].name.encode())
        documents.append(document)
    return documents


def reply(replies: Callable[[str], Queue], messages: Sequence[Message], documents: Sequence[bytes]) -> None:
    """Tell each web process of its jobs; a reply that cannot be sent costs its waiter a look at the bucket.

    Args:
        replies: Gives the reply queue of a web process by its name.
        messages: The messages of the jobs.
        documents: Their outcomes, in the same order.
    """
    by_queue: dict[str, list[bytes]] = {}
    for message, document in zip(messages, documents, strict=True):
        if message.reply_to:
            by_queue.setdefault(message.reply_to, []).append(document)
    for name, bodies in by_queue.items():
        try:
            replies(name).send(bodies)
        except BackendError as exc:
            say(_log, logging.WARNING, "worker.reply_lost", exc.message, queue=name, jobs=len(bodies))


def _written_once(results: Store, job: Job) -> tuple[Job, bytes]:
    """Write a job's outcome unless there is one, and return the one that stands, with its document."""
    document = json.dumps(job.to_dict(), ensure_ascii=False).encode()
    try:
        results.put(result_key(job.id), document, only_if_absent=True)
    except ObjectExists:
        earlier = results.get(result_key(job.id))
        try:
            return Job.from_dict(json.loads(earlier)), earlier
        except (ValueError, KeyError, TypeError, RecursionError):  # a power cut left an empty or torn file
            results.put(result_key(job.id), document)
    return job, document
