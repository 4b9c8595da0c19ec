"""The steps of one batch, in the order that loses nothing.

    receive → fetch → decode → classify → store → reply → ack

The result is stored before anybody hears of it, and the message is acknowledged last, so a crash at any point
costs a redelivery and never an image. A job's outcome is written once: where a result is there already, it
stands, and the reply repeats it. The outcome of a dropped image is that of the newest object under its key.

Each step gives for each message what it made, or the `Trouble` that it met; the others go on.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from beholder.clock import age_s
from beholder.errors import (
    BeholderError,
    ImageGone,
    ImageTooLarge,
    JobError,
    JobExpired,
    ModelNotFound,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Failure, Job, JobStatus, Metrics
from beholder.job.job import Result
from beholder.model.top import top_labels
from beholder.results import outcomes
from beholder.results.attempts import Step, Trouble, attempt
from beholder.telemetry.log import get_logger, log_event
from beholder.worker.deliveries import Delivery, read, send_each
from beholder.worker.ports import WorkerPorts

__all__ = [
    "Classified",
    "Delivery",
    "Fetched",
    "Prepared",
    "ack",
    "classify",
    "decode",
    "fetch",
    "light_first",
    "read",
    "settle",
]

_log = get_logger(__name__)

_SERVER_ERROR = 500

_Made = TypeVar("_Made")


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

    @property
    def is_from_store(self) -> bool:
        """Say whether the store answered for it."""
        is_read = self.data is not None and self.delivery.message.image is None
        return is_read or (self.failure is not None and self.failure.code == ImageGone.code)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery with its image decoded, or with the reason why it cannot be."""

    delivery: Delivery
    model: str
    image: NDArray[np.uint8] | None
    failure: Failure | None
    decode_ms: float
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Classified:
    """A delivery with its outcome."""

    prepared: Prepared
    job: Job

    @property
    def delivery(self) -> Delivery:
        """The delivery."""
        return self.prepared.delivery


def fetch(ports: WorkerPorts, batch: Sequence[Delivery]) -> list[Fetched | Trouble]:
    """Read the images' files, at the same time where the ports do so."""

    def one(delivery: Delivery) -> Fetched:
        model = delivery.message.input.options.model or ports.default_model
        try:
            data = _file_of(ports, delivery, model)
        except (RequestError, JobError) as exc:
            seen = exc.code if delivery.is_drop else ""
            return Fetched(delivery, model, failure=_failure(exc, delivery), seen=seen)
        return Fetched(delivery, model, data, seen=_digest(data) if delivery.is_drop else "")

    results = ports.map_items(partial(attempt, one), batch)
    return [_or_trouble(delivery, "get", found) for delivery, found in zip(batch, results, strict=True)]


def light_first(ports: WorkerPorts, batch: Sequence[Fetched]) -> list[list[Fetched]]:
    """Return what goes through the next steps together: all light images first, then each heavy one alone."""
    light: list[Fetched] = []
    heavy: list[list[Fetched]] = []
    for one in batch:
        # Where a header cannot be read at all, `decode` meets the same and says so.
        if one.data is not None and attempt(ports.is_heavy, one.data) is True:
            heavy.append([one])
        else:
            light.append(one)
    return [light, *heavy] if light else heavy


def decode(
    ports: WorkerPorts, batch: Sequence[Fetched], announce: Callable[[Delivery], None]
) -> list[Prepared | Trouble]:
    """Decode every image, one after the other; a heavy one once not too many others are decoded.

    Args:
        ports: What the worker works with.
        batch: What was fetched; each lets go of its file, so that no more than is needed stays in memory.
        announce: Called with each delivery right before its bytes are touched.
    """

    def one(fetched: Fetched) -> Prepared:
        started_s = ports.clock.now_s()
        image, failure = None, fetched.failure
        if fetched.data is not None:
            try:
                is_heavy = ports.is_heavy(fetched.data)
                with ports.heavy_decodes if is_heavy else nullcontext():
                    image = ports.prepare(fetched.data, ports.classifiers[fetched.model].spec.preprocessing)
            except (RequestError, JobError) as exc:
                failure = _failure(exc, fetched.delivery)
        decode_ms = (ports.clock.now_s() - started_s) * 1000
        return Prepared(fetched.delivery, fetched.model, image, failure, decode_ms, fetched.seen)

    prepared = []
    for fetched in batch:
        if fetched.data is not None:
            announce(fetched.delivery)
        prepared.append(_or_trouble(fetched.delivery, "decode", attempt(one, fetched)))
        fetched.data = None
    return prepared


def classify(ports: WorkerPorts, batch: Sequence[Prepared]) -> list[Classified | Trouble]:
    """Run the models over the decoded images, one batch for each model, and return every job's outcome.

    Where a model fails on a batch, each of its images is run alone, so that one costs the others nothing.
    """
    results: list[Classified | Trouble] = [
        _failed(ports, one, one.failure) for one in batch if one.failure is not None
    ]
    for model in dict.fromkeys(one.model for one in batch):
        group = [(one, one.image) for one in batch if one.model == model and one.image is not None]
        if not group:
            continue
        run = partial(_classify_group, ports, model)
        found = attempt(run, group)
        if not isinstance(found, Exception):
            results += found
            continue
        for one in group:
            alone = attempt(run, [one]) if len(group) > 1 else found
            if isinstance(alone, JobError):
                # The model has said what is wrong with this image; another try would hear the same.
                results.append(_failed(ports, one[0], _failure(alone, one[0].delivery)))
            elif isinstance(alone, Exception):
                results.append(Trouble(one[0].delivery.received, "classify", alone))
            else:
                results += alone
    return results


def settle(ports: WorkerPorts, batch: Sequence[Classified]) -> list[Classified | Trouble]:
    """Store every outcome, and then tell those who wait; drops that changed meanwhile are sent once more.

    Args:
        ports: What the worker works with.
        batch: The outcomes.

    Returns:
        Those that can be acknowledged, and the trouble of the others.
    """
    messages = [one.delivery.message for one in batch]
    documents = outcomes.store(
        ports.results,
        [one.job for one in batch],
        {message.job_id for message in messages if message.wants_text},
        dropped={
            one.delivery.message.job_id: one.delivery.message.input.image_key
            for one in batch
            if one.delivery.is_drop
        },
        map_items=ports.map_items,
    )
    troubles: list[Trouble] = []
    stored = []
    for one, document in zip(batch, documents, strict=True):
        if isinstance(document, Exception):
            troubles.append(Trouble(one.delivery.received, "put", document))
        else:
            stored.append((one, document))
    unseen = _look_again(ports, [one.prepared for one, _ in stored if one.delivery.is_drop])
    outcomes.reply(
        ports.replies,
        [one.delivery.message for one, _ in stored],
        [document for _, document in stored],
        ports.unreported_calls,
    )
    troubles += unseen
    troubled = {one.received.receipt for one in unseen}
    return [*troubles, *(one for one, _ in stored if one.delivery.received.receipt not in troubled)]


def ack(ports: WorkerPorts, batch: Sequence[Classified]) -> list[Trouble]:
    """Acknowledge, now that the results are stored."""
    if not batch:
        return []
    received = [one.delivery.received for one in batch]
    error = attempt(ports.queue.ack, [one.receipt for one in received])
    return [] if error is None else [Trouble(one, "ack", error) for one in received]


def _or_trouble(delivery: Delivery, step: Step, found: _Made | Exception) -> _Made | Trouble:
    return Trouble(delivery.received, step, found) if isinstance(found, Exception) else found


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


def _look_again(ports: WorkerPorts, drops: Sequence[Prepared]) -> list[Trouble]:
    """Send the events of drops once more whose object is not what was classified any more.

    Events come in any order and workers are of any speed, so a result may be written after that of a newer
    object. But whoever writes a result looks at the object afterwards. Whoever writes last either finds what
    it classified, which is then the newest, or sends the event again, and is not the last. An object that is
    put after that look has an event of its own, which ends in a later result.
    """
    if not drops:
        return []
    troubles = []
    changed = []
    for now, before in zip(fetch(ports, [one.delivery for one in drops]), drops, strict=True):
        if isinstance(now, Trouble):
            troubles.append(now)
        elif now.seen != before.seen:
            changed.append(now.delivery)
    if changed:
        keys = [one.message.input.image_key for one in changed]
        log_event(_log, logging.INFO, "worker.drop_changed", "an object was replaced meanwhile", keys=keys)
        sent = send_each(ports.queue.send, [(one.received, [one.received.body]) for one in changed])
        troubles += [one for one in sent if isinstance(one, Trouble)]
    return troubles


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _classify_group(
    ports: WorkerPorts, model: str, group: Sequence[tuple[Prepared, NDArray[np.uint8]]]
) -> list[Classified | Trouble]:
    classifier = ports.classifiers[model]
    started_s = ports.clock.now_s()
    probabilities = classifier.classify([image for _, image in group])
    done_s = ports.clock.now_s()
    if len(probabilities) != len(group):
        raise ValueError(f"the model gave {len(probabilities)} rows for {len(group)} images")

    def job(one: Prepared, row: NDArray[np.float32]) -> Job:
        message, received_at_s = one.delivery.message, one.delivery.received_at_s
        options = message.input.options
        return Job(
            id=message.job_id,
            status=JobStatus.SUCCEEDED,
            created_at_s=message.created_at_s,
            input=message.input,
            started_at_s=received_at_s,
            completed_at_s=done_s,
            model=model,
            model_version=classifier.spec.version,
            result=Result(
                top_labels(
                    row, classifier.spec.labels, top_k=options.top_k, min_confidence=options.min_confidence
                )
            ),
            metrics=Metrics(
                queue_ms=round(age_s(received_at_s, message.created_at_s) * 1000, 3),
                decode_ms=round(one.decode_ms, 3),
                infer_ms=round((done_s - started_s) * 1000, 3),
                service_ms=round((done_s - received_at_s) * 1000, 3),
                batch_size=len(group),
                receive_count=one.delivery.received.receive_count,
            ),
        )

    results: list[Classified | Trouble] = []
    for (one, _), row in zip(group, probabilities, strict=True):
        made = attempt(partial(job, one), row)
        if isinstance(made, Exception):
            results.append(Trouble(one.delivery.received, "classify", made))
        else:
            results.append(Classified(one, made))
    return results


def _failed(ports: WorkerPorts, one: Prepared, failure: Failure) -> Classified:
    delivery = one.delivery
    job = outcomes.failed_job(
        delivery.message, failure, ports.clock.now_s(), started_at_s=delivery.received_at_s
    )
    return Classified(one, job)


def _failure(error: BeholderError, delivery: Delivery) -> Failure:
    """Return what the job's caller is told; the log is told everything."""
    job_id = delivery.message.job_id
    # The access log has the same as the caller is told; what a library said is here alone.
    level = logging.ERROR if error.http_status >= _SERVER_ERROR else logging.INFO
    log_event(_log, level, "worker.job_failed", error.message, code=error.code, job_id=job_id)
    return Failure(code=error.code, status=error.http_status, detail=error.detail)
