"""The six steps of one batch, in the order that loses nothing.

    receive → decode → classify → store → reply → ack

The result is stored before anybody hears of it, and the message is acknowledged last, so a crash at any point
costs a redelivery and never an image. A job's outcome is written once: where a result is there already, it
stands, and the reply repeats it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beholder.errors import (
    BeholderError,
    ImageGone,
    JobError,
    JobExpired,
    ModelNotFound,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Failure, Job, JobStatus, Message, MessageInvalid, Metrics
from beholder.model.top import top_labels
from beholder.queue.port import Received
from beholder.telemetry.log import get_logger, say
from beholder.worker import outcomes
from beholder.worker.ports import WorkerPorts

__all__ = ["Delivery", "Prepared", "ack", "classify", "decode", "read"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in hand."""

    received: Received
    message: Message
    received_at_s: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery with its image decoded, or with the reason why it cannot be."""

    delivery: Delivery
    model: str
    image: NDArray[np.uint8] | None
    failure: Failure | None
    decode_ms: float


def read(ports: WorkerPorts, received: Sequence[Received]) -> list[Delivery]:
    """Read the messages; a body that cannot be read goes to the dead-letter queue, not to the floor."""
    now_s = ports.clock.now_s()
    deliveries = []
    for one in received:
        try:
            deliveries.append(Delivery(one, Message.from_bytes(one.body), now_s))
        except MessageInvalid as exc:
            say(_log, logging.WARNING, "worker.unreadable", exc.message, receive_count=one.receive_count)
            ports.dead_letters.send([one.body])
            ports.queue.ack([one.receipt])
    return deliveries


def decode(
    ports: WorkerPorts, batch: Sequence[Delivery], announce: Callable[[Delivery], None]
) -> list[Prepared]:
    """Fetch and decode every image; what is wrong with one is its own outcome and nobody else's.

    Args:
        ports: What the worker works with.
        batch: The deliveries.
        announce: Called with each delivery right before its bytes are touched.
    """
    prepared = []
    for delivery in batch:
        announce(delivery)
        started_s = ports.clock.now_s()
        model = delivery.message.options.model or ports.default_model
        image, failure = None, None
        try:
            image = _decode_one(ports, delivery.message, model)
        except (RequestError, JobError) as exc:
            failure = _failure(exc)
        decode_ms = (ports.clock.now_s() - started_s) * 1000
        prepared.append(Prepared(delivery, model, image, failure, decode_ms))
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


def ack(ports: WorkerPorts, batch: Sequence[Delivery]) -> None:
    """Acknowledge, now that the results are stored."""
    ports.queue.ack([one.received.receipt for one in batch])


def _decode_one(ports: WorkerPorts, message: Message, model: str) -> NDArray[np.uint8]:
    if message.deadline_s is not None and ports.clock.now_s() > message.deadline_s:
        raise JobExpired
    if model not in ports.classifiers:
        raise ModelNotFound(f"no worker serves a model named {model!r} any more")
    data = message.image
    if data is None:
        try:
            data = ports.images.get(message.input.image_key)
        except ObjectNotFound as exc:
            raise ImageGone from exc
    return ports.prepare(data, ports.classifiers[model].spec.preprocessing)


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
