"""A job's outcome: how it is written down once, and how the one who waits hears of it."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from beholder.errors import BeholderError, JobExpired, ObjectExists, ObjectNotFound
from beholder.job import Failure, Job, JobStatus, Message, read_outcome
from beholder.job.reply import Reply, bundled
from beholder.queue.port import Queue
from beholder.results.attempts import attempt
from beholder.results.counters import UnreportedCounters
from beholder.results.fan_out import MapItems, map_in_turn
from beholder.store.keys import drop_result_key, result_key, text_key
from beholder.store.port import Store
from beholder.telemetry.log import get_logger, log_event

__all__ = ["drop_document", "failed_job", "reply", "store"]

_log = get_logger(__name__)

_NONE_DROPPED: Mapping[str, str] = {}


def failed_job(message: Message, failure: Failure, now_s: float, *, started_at_s: float | None = None) -> Job:
    """Return the outcome of a job that failed or expired."""
    expired = failure.code == JobExpired.code
    return Job(
        id=message.job_id,
        status=JobStatus.EXPIRED if expired else JobStatus.FAILED,
        created_at_s=message.created_at_s,
        input=message.input,
        started_at_s=started_at_s,
        completed_at_s=now_s,
        model=message.input.options.model,
        error=failure,
    )


def store(
    results: Store,
    jobs: Sequence[Job],
    texts_for: Collection[str] = (),
    *,
    dropped: Mapping[str, str] = _NONE_DROPPED,
    map_items: MapItems = map_in_turn,
) -> list[bytes | Exception]:
    """Write every outcome to the output bucket; one that cannot be written keeps no other from it.

    Args:
        results: The output bucket.
        jobs: The outcomes.
        texts_for: Ids of the jobs whose best label is also wanted as plain text.
        dropped: Keys of the images that were dropped, by their job's id. Their outcomes replace what stands.
        map_items: Writes the outcomes.

    Returns:
        For each outcome the document that stands there now, or why it was not written, or perhaps not.
    """

    def write(job: Job) -> bytes:
        if job.id in dropped:
            document = drop_document(job)
            results.put(drop_result_key(dropped[job.id]), document)
            return document
        standing, document = _written_once(results, job)
        if job.id in texts_for and standing.best_label:
            results.put(text_key(job.id), standing.best_label.name.encode())
        return document

    return list(map_items(partial(attempt, write), jobs))


def drop_document(job: Job) -> bytes:
    """Return the document of a dropped image; it names no address, since the API finds jobs by their id."""
    return json.dumps(job.to_dict() | {"urls": {}}, ensure_ascii=False).encode()


def reply(
    replies: Callable[[str], Queue],
    messages: Sequence[Message],
    documents: Sequence[bytes],
    unreported: UnreportedCounters | None = None,
) -> None:
    """Tell each web process of its jobs, all of a batch in one reply.

    A reply that cannot be sent costs its pending replies a look at the bucket.

    Args:
        replies: Gives the reply queue of a web process by its name.
        messages: The messages of the jobs.
        documents: Their outcomes, in the same order.
        unreported: The calls to tell of; whoever hears of a job first hears of them too.
    """
    by_queue: dict[str, list[bytes]] = {}
    for message, document in zip(messages, documents, strict=True):
        if message.reply_to:
            by_queue.setdefault(message.reply_to, []).append(document)
    for name, told in by_queue.items():
        calls = unreported.take() if unreported else {}
        error = attempt(lambda told: replies(name).send(_bodies(told, calls)), told)  # noqa: B023 -- called at once
        if error is None:
            continue
        if unreported:
            unreported.put_back(calls)
        reason = error.message if isinstance(error, BeholderError) else f"{type(error).__name__}: {error}"
        log_event(_log, logging.WARNING, "worker.reply_lost", reason, queue=name, jobs=len(told))


def _bodies(documents: Sequence[bytes], calls: Mapping[str, int]) -> list[bytes]:
    first, *rest = bundled(documents)
    return [Reply(first, calls).to_bytes(), *(Reply(one).to_bytes() for one in rest)]


def _written_once(results: Store, job: Job) -> tuple[Job, bytes]:
    """Write a job's outcome unless there is one, and return the one that stands, with its document."""
    document = json.dumps(job.to_dict(), ensure_ascii=False).encode()
    try:
        results.put(result_key(job.id), document, only_if_absent=True)
    except ObjectExists:
        try:
            earlier = results.get(result_key(job.id))
            return read_outcome(earlier, job_id=job.id), earlier
        except (ObjectNotFound, ValueError):  # deleted meanwhile, a link to nothing, or torn by a power cut
            results.put(result_key(job.id), document)
    return job, document
