"""The steps of one batch, in the order that loses nothing.

    receive → fetch → decode → classify → store → reply → ack

The result is stored before anybody hears of it, and the message is acknowledged last, so a crash at any point
costs a redelivery and never an image. A job's outcome is written once: where a result is there already, it
stands, and the reply repeats it. The outcome of a dropped image is that of the newest object under its key.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beholder.errors import (
    BackendError,
    BeholderError,
    ImageGone,
    ImageTooLarge,
    JobError,
    JobExpired,
    ModelNotFound,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Failure, Job, JobStatus, Message, MessageInvalid, Metrics
from beholder.job.drop import Foreign, Several
from beholder.model.top import top_labels
from beholder.queue.port import Received
from beholder.telemetry.log import get_logger, say
from beholder.worker import outcomes
from beholder.worker.ports import WorkerPorts
from beholder.worker.sorting import Work, sort_body

__all__ = ["Delivery", "Fetched", "Prepared", "ack", "classify", "decode", "fetch", "read", "settle"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in hand, and whether its image was dropped into the bucket."""

    received: Received
    message: Message
    received_at_s: float
    is_drop: bool = False


@dataclass(slots=True)
class Fetched:
    """A delivery with its image's file, or with the reason why there is none.

    Args:
        delivery: The delivery.
        model: Name of the model to run.
        data: The file; `decode` lets go of it.
        failure: Why it cannot be had.
        seen: For a dropped image, what was found under its key, so that a change can be told.
    """

    delivery: Delivery
    model: str
    data: bytes | None = None
    failure: Failure | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery with its image decoded, or with the reason why it cannot be."""

    delivery: Delivery
    model: str
    image: NDArray[np.uint8] | None
    failure: Failure | None
    decode_ms: float
    seen: str = ""


def read(ports: WorkerPorts, received: Sequence[Received]) -> list[Delivery]:
    """Sort what was received, and return what there is to do.

    The rest is acknowledged here: what is foreign with a line in the log; an event of several objects once
    each has an event of its own in the queue; and what cannot be read once it is in the dead-letter queue,
    not on the floor.
    """
    now_s = ports.clock.now_s()
    deliveries = []
    settled = []
    again: list[bytes] = []
    unreadable = []
    for one in received:
        try:
            found = sort_body(one.body, input_bucket=ports.input_bucket, now_s=now_s)
        except MessageInvalid as exc:
            say(_log, logging.WARNING, "worker.unreadable", exc.message, receive_count=one.receive_count)
            unreadable.append(one.body)
            settled.append(one.receipt)
            continue
        if isinstance(found, Work):
            deliveries.append(Delivery(one, found.message, now_s, found.is_drop))
            continue
        if isinstance(found, Several):
            again += found.bodies
        else:
            _say_foreign(found)
        settled.append(one.receipt)
    _put_aside(ports, settled, again, unreadable)
    return deliveries


def fetch(ports: WorkerPorts, batch: Sequence[Delivery]) -> list[Fetched]:
    """Read the images' files, at the same time where the ports do so.

    What is wrong with one is its own outcome and nobody else's.

    Raises:
        BackendError: An image could not be read for now; all other reads have ended.
    """

    def one(delivery: Delivery) -> Fetched | BackendError:
        model = delivery.message.options.model or ports.default_model
        try:
            data = _file_of(ports, delivery, model)
        except (RequestError, JobError) as exc:
            seen = exc.code if delivery.is_drop else ""
            return Fetched(delivery, model, failure=_failure(exc), seen=seen)
        except BackendError as exc:
            return exc
        return Fetched(delivery, model, data, seen=_digest(data) if delivery.is_drop else "")

    return outcomes.unless_failed(ports.each(one, batch))


def decode(
    ports: WorkerPorts, batch: Sequence[Fetched], announce: Callable[[Delivery], None]
) -> list[Prepared]:
    """Decode every image, one after the other; what is wrong with one is its own outcome and nobody else's.

    Args:
        ports: What the worker works with.
        batch: What was fetched; each lets go of its file, so that no more than is needed stays in memory.
        announce: Called with each delivery right before its bytes are touched.
    """
    prepared = []
    for one in batch:
        started_s = ports.clock.now_s()
        image, failure = None, one.failure
        if one.data is not None:
            announce(one.delivery)
            try:
                image = ports.prepare(one.data, ports.classifiers[one.model].spec.preprocessing)
            except (RequestError, JobError) as exc:
                failure = _failure(exc)
            one.data = None
        decode_ms = (ports.clock.now_s() - started_s) * 1000
        prepared.append(Prepared(one.delivery, one.model, image, failure, decode_ms, one.seen))
    return prepared


def classify(ports: WorkerPorts, batch: Sequence[Prepared]) -> list[Job]:
    """Run the models over the decoded images, one batch for each model, and return every job's outcome."""
    jobs = [
        outcomes.failed_job(
            one.delivery.message, one.failure, ports.clock.now_s(), started_at_s=one.delivery.received_at_s
        )
        for one in batch
        if one.failure is not None
    ]
    for model in dict.fromkeys(one.model for one in batch):
        group = [(one, one.image) for one in batch if one.model == model and one.image is not None]
        if group:
            jobs.extend(_classify_group(ports, model, group))
    return jobs


def settle(ports: WorkerPorts, batch: Sequence[Prepared], jobs: Sequence[Job]) -> None:
    """Store every outcome, and then tell those who wait; drops that changed meanwhile are sent once more.

    Args:
        ports: What the worker works with.
        batch: What was worked on.
        jobs: Its outcomes, in any order.
    """
    messages = {one.delivery.message.job_id: one.delivery.message for one in batch}
    documents = outcomes.store(
        ports.results,
        jobs,
        {job_id for job_id, message in messages.items() if message.wants_text},
        dropped={
            one.delivery.message.job_id: one.delivery.message.input.image_key
            for one in batch
            if one.delivery.is_drop
        },
        each=ports.each,
    )
    _look_again(ports, [one for one in batch if one.delivery.is_drop])
    outcomes.reply(ports.replies, [messages[job.id] for job in jobs], documents, ports.untold_calls)


def ack(ports: WorkerPorts, batch: Sequence[Delivery]) -> None:
    """Acknowledge, now that the results are stored."""
    ports.queue.ack([one.received.receipt for one in batch])


def _say_foreign(found: Foreign) -> None:
    match found.kind:
        case "test event":
            say(_log, logging.INFO, "worker.test_event", found.reason)
        case "folder marker":
            say(_log, logging.INFO, "worker.drop_marker", found.reason)
        case "foreign":
            say(_log, logging.INFO, "worker.foreign", found.reason)


def _put_aside(
    ports: WorkerPorts, settled: Sequence[str], again: Sequence[bytes], unreadable: Sequence[bytes]
) -> None:
    if again:
        ports.queue.send(again)
    if unreadable:
        ports.dead_letters.send(unreadable)
    if settled:
        ports.queue.ack(settled)


def _file_of(ports: WorkerPorts, delivery: Delivery, model: str) -> bytes:
    message = delivery.message
    if message.deadline_s is not None and ports.clock.now_s() > message.deadline_s:
        raise JobExpired
    if model not in ports.classifiers:
        raise ModelNotFound(f"no worker serves a model named {model!r} any more")
    if message.image is not None:
        return message.image
    try:
        if delivery.is_drop and ports.image_bytes_max is not None:
            # Nobody has bounded it: an object may be longer than any memory.
            size_bytes = ports.images.head(message.input.image_key).size_bytes
            if size_bytes > ports.image_bytes_max:
                raise ImageTooLarge
        return ports.images.get(message.input.image_key)
    except ObjectNotFound as exc:
        raise ImageGone from exc


def _look_again(ports: WorkerPorts, drops: Sequence[Prepared]) -> None:
    """Send the events of drops once more whose object is not what was classified any more.

    Events come in any order and workers are of any speed, so a result may be written after that of a newer
    object. But whoever writes a result looks at the object afterwards. Whoever writes last either finds what
    it classified, which is then the newest, or sends the event again, and is not the last. An object that is
    put after that look has an event of its own, which ends in a later result.
    """
    if not drops:
        return
    changed = [
        now.delivery
        for now, before in zip(fetch(ports, [one.delivery for one in drops]), drops, strict=True)
        if now.seen != before.seen
    ]
    if changed:
        keys = [one.message.input.image_key for one in changed]
        say(_log, logging.INFO, "worker.drop_changed", "an object was replaced meanwhile", keys=keys)
        ports.queue.send([one.received.body for one in changed])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _classify_group(
    ports: WorkerPorts, model: str, group: Sequence[tuple[Prepared, NDArray[np.uint8]]]
) -> list[Job]:
    classifier = ports.classifiers[model]
    started_s = ports.clock.now_s()
    probabilities = classifier.classify([image for _, image in group])
    done_s = ports.clock.now_s()
    jobs = []
    for (one, _), row in zip(group, probabilities, strict=True):
        message, received_at_s = one.delivery.message, one.delivery.received_at_s
        options = message.options
        jobs.append(
            Job(
                id=message.job_id,
                status=JobStatus.SUCCEEDED,
                created_at_s=message.created_at_s,
                options=options,
                input=message.input,
                started_at_s=received_at_s,
                completed_at_s=done_s,
                model=model,
                model_version=classifier.spec.version,
                labels=top_labels(
                    row, classifier.spec.labels, top_k=options.top_k, min_confidence=options.min_confidence
                ),
                metrics=Metrics(
                    queue_ms=round(max(0.0, received_at_s - message.created_at_s) * 1000, 3),
                    decode_ms=round(one.decode_ms, 3),
                    infer_ms=round((done_s - started_s) * 1000, 3),
                    service_ms=round((done_s - received_at_s) * 1000, 3),
                    batch_size=len(group),
                    receive_count=one.delivery.received.receive_count,
                ),
            )
        )
    return jobs


def _failure(error: BeholderError) -> Failure:
    return Failure(code=error.code, status=error.http_status, detail=error.message)
