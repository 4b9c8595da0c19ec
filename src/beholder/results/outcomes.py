"""How a job's outcome is written, once, and sent to the web process that waits for it."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence

from beholder.errors import BeholderError, JobCanceled, JobExpired, ObjectExists, ObjectNotFound
from beholder.job import Failure, Job, JobStatus, Message, read_outcome
from beholder.job.reply import Reply, bundled
from beholder.queue.port import Sender
from beholder.results.attempts import attempt
from beholder.results.counters import UnreportedCounters
from beholder.store.keys import result_key, text_key, upload_result_key
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["failed_job", "reply", "report", "store_outcome", "store_upload_outcome", "upload_document"]

_log = logging.getLogger(__name__)

_STATUSES = {JobExpired.code: JobStatus.EXPIRED, JobCanceled.code: JobStatus.CANCELED}


def failed_job(message: Message, failure: Failure, now_s: float, *, started_at_s: float | None = None) -> Job:
    """Return the outcome of a job that failed, expired or was canceled."""
    model, version = message.model_and_version
    return Job(
        id=message.job_id,
        status=_STATUSES.get(failure.code, JobStatus.FAILED),
        created_at_s=message.created_at_s,
        input=message.input,
        started_at_s=started_at_s,
        completed_at_s=now_s,
        model=model,
        model_version=version,
        error=failure,
    )


def store_outcome(results: Store, job: Job, *, wants_text: bool = False) -> bytes:
    """Write a job's outcome unless it has one already.

    Args:
        results: The output bucket.
        job: The outcome.
        wants_text: Also store the best label as plain text.

    Returns:
        The document of the outcome that stands.

    Raises:
        BackendError: The bucket cannot be written; the outcome may have been stored nevertheless.
    """
    document = json.dumps(job.to_dict(), ensure_ascii=False).encode()
    try:
        results.put(result_key(job.id), document, only_if_absent=True)
    except ObjectExists:
        try:
            earlier = results.get(result_key(job.id))
            job, document = read_outcome(earlier, job_id=job.id), earlier
        except (ObjectNotFound, ValueError):  # deleted meanwhile, a link to nothing, or torn by a power cut
            results.put(result_key(job.id), document)
    if wants_text and job.best_label:
        results.put(text_key(job.id), job.best_label.name.encode())
    return document


def store_upload_outcome(results: Store, job: Job, image_key: str) -> bytes:
    """Write the outcome of an upload under its object's key, in place of an earlier outcome.

    Raises:
        BackendError: The bucket cannot be written.
    """
    document = upload_document(job)
    results.put(upload_result_key(image_key), document)
    return document


def upload_document(job: Job) -> bytes:
    """Return the document of an upload's outcome; it has no URLs, because the API finds jobs by their id."""
    return json.dumps(job.to_dict() | {"urls": {}}, ensure_ascii=False).encode()


def reply(
    replies: Callable[[str], Sender],
    messages: Sequence[Message],
    documents: Sequence[bytes],
    unreported: UnreportedCounters | None = None,
) -> None:
    """Send each web process the outcomes of its jobs in one reply.

    If a reply cannot be sent, the web process finds the outcomes in the bucket.

    Args:
        replies: Returns the way to the replies of a web process, by its name.
        messages: The messages of the jobs.
        documents: Their outcomes, in the same order.
        unreported: The calls to report; the first reply carries them.
    """
    by_queue: dict[str, list[bytes]] = {}
    for message, document in zip(messages, documents, strict=True):
        if message.reply_to:
            by_queue.setdefault(message.reply_to, []).append(document)
    for name, of_queue in by_queue.items():
        calls = unreported.take() if unreported else {}
        bodies = _bodies(of_queue, calls)
        error = attempt(lambda name: replies(name).send(bodies), name)  # noqa: B023 -- called at once
        if error is None:
            continue
        if unreported:
            unreported.put_back(calls)
        reason = error.message if isinstance(error, BeholderError) else f"{type(error).__name__}: {error}"
        log_event(_log, logging.WARNING, "worker.reply_lost", reason, queue=name, jobs=len(of_queue))


def report(replies: Callable[[str], Sender], name: str, unreported: UnreportedCounters) -> None:
    """Send a web process what was counted, in a reply without outcomes; the next reply carries it otherwise.

    Args:
        replies: Returns the way to the replies of a web process, by its name.
        name: Its name.
        unreported: What to report.
    """
    counted = unreported.take()
    if (
        counted
        and attempt(lambda body: replies(name).send([body]), Reply((), counted).to_bytes()) is not None
    ):
        unreported.put_back(counted)


def _bodies(documents: Sequence[bytes], calls: Mapping[str, int]) -> list[bytes]:
    first, *rest = bundled(documents)
    return [Reply(first, calls).to_bytes(), *(Reply(bundle).to_bytes() for bundle in rest)]
