"""The steps of one batch, in the order that loses nothing.

    receive → fetch → decode → classify → store → reply → ack

The result is stored before the web process hears of it, and the message is acknowledged last, so a crash at
any point costs a redelivery and never an image. A job's outcome is written once: if a result is there
already, it stands, and the reply repeats it. The outcome of an upload is that of the newest object under its
key.

Each step returns for each message what it made, or the `Trouble` that it met; the other messages go on.
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
from beholder.telemetry.log import log_event
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

_log = logging.getLogger(__name__)

_SERVER_ERROR = 500

_Made = TypeVar("_Made")


@dataclass(slots=True)
class Fetched:
    """A delivery with its image's file, or with the reason why there is none.

    Args:
        delivery: The delivery.
        data: The file; `decode` clears it to free the memory.
        failure: Why it could not be fetched.
        fingerprint: For an upload, what stood under its key, so that a change is noticed.
    """

    delivery: Delivery
    data: bytes | None = None
    failure: Failure | None = None
    fingerprint: str = ""

    @property
    def is_from_store(self) -> bool:
        """Say whether the store answered for it."""
        is_read = self.data is not None and self.delivery.message.image is None
        return is_read or (self.failure is not None and self.failure.code == ImageGone.code)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery with its image decoded, or with the reason why it cannot be."""

    fetched: Fetched
    image: NDArray[np.uint8] | None
    failure: Failure | None
    decode_ms: float

    @property
    def delivery(self) -> Delivery:
        """The delivery."""
        return self.fetched.delivery


@dataclass(frozen=True, slots=True)
class Classified:
    """A delivery with its outcome."""

    fetched: Fetched
    job: Job

    @property
    def delivery(self) -> Delivery:
        """The delivery."""
        return self.fetched.delivery


def fetch(ports: WorkerPorts, batch: Sequence[Delivery]) -> list[Fetched | Trouble]:
    """Read the images' files."""

    def fetch_one(delivery: Delivery) -> Fetched:
        try:
            data = _file_of(ports, delivery)
        except (RequestError, JobError) as exc:
            fingerprint = exc.code if delivery.is_upload else ""
            return Fetched(delivery, failure=_failure_of(exc, delivery), fingerprint=fingerprint)
        fingerprint = hashlib.sha256(data).hexdigest() if delivery.is_upload else ""
        return Fetched(delivery, data, fingerprint=fingerprint)

    results = ports.map_items(partial(attempt, fetch_one), batch)
    return [_or_trouble(delivery, "get", found) for delivery, found in zip(batch, results, strict=True)]


def light_first(ports: WorkerPorts, batch: Sequence[Fetched]) -> list[list[Fetched]]:
    """Split a batch for the next steps: all light images first, then each heavy one alone."""
    light: list[Fetched] = []
    heavy: list[list[Fetched]] = []
    for one in batch:
        # If a header cannot be read at all, `decode` meets the same error and reports it.
        if one.data is not None and attempt(ports.is_heavy, one.data) is True:
            heavy.append([one])
        else:
            light.append(one)
    return [light, *heavy] if light else heavy


def decode(
    ports: WorkerPorts, batch: Sequence[Fetched], announce: Callable[[Delivery], None]
) -> list[Prepared | Trouble]:
    """Decode every image, one after the other; a heavy one waits until few enough others are decoded.

    Args:
        ports: What the worker works with.
        batch: What was fetched; each file is freed once it is decoded.
        announce: Called with each delivery right before its bytes are touched.
    """

    def decode_one(fetched: Fetched) -> Prepared:
        started_s = ports.clock.now_s()
        image, failure = None, fetched.failure
        if fetched.data is not None:
            try:
                is_heavy = ports.is_heavy(fetched.data)
                preprocessing = ports.classifiers[fetched.delivery.model].spec.preprocessing
                with ports.heavy_decodes if is_heavy else nullcontext():
                    image = ports.prepare(fetched.data, preprocessing)
            except (RequestError, JobError) as exc:
                failure = _failure_of(exc, fetched.delivery)
        return Prepared(fetched, image, failure, decode_ms=(ports.clock.now_s() - started_s) * 1000)

    prepared = []
    for fetched in batch:
        if fetched.data is not None:
            announce(fetched.delivery)
        prepared.append(_or_trouble(fetched.delivery, "decode", attempt(decode_one, fetched)))
        fetched.data = None
    return prepared


def classify(ports: WorkerPorts, batch: Sequence[Prepared]) -> list[Classified | Trouble]:
    """Run the models over the decoded images, one batch for each model, and return every job's outcome.

    If a model fails on a batch, each of its images is run alone, so that one costs the others nothing.
    """
    results: list[Classified | Trouble] = [
        _failed(ports, one, one.failure) for one in batch if one.failure is not None
    ]
    for model in dict.fromkeys(one.delivery.model for one in batch):
        group = [(one, one.image) for one in batch if one.delivery.model == model and one.image is not None]
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
                # The model has said what is wrong with this image; another try would give the same answer.
                results.append(_failed(ports, one[0], _failure_of(alone, one[0].delivery)))
            elif isinstance(alone, Exception):
                results.append(Trouble(one[0].delivery.received, "classify", alone))
            else:
                results += alone
    return results


def settle(ports: WorkerPorts, batch: Sequence[Classified]) -> list[Classified | Trouble]:
    """Store every outcome, and then reply; the events of uploads that changed meanwhile are sent again.

    Returns:
        What can be acknowledged, and the trouble of the others.
    """

    def store(one: Classified) -> bytes:
        message = one.delivery.message
        if one.delivery.is_upload:
            return outcomes.store_upload_outcome(ports.results, one.job, message.input.image_key)
        return outcomes.store_outcome(ports.results, one.job, wants_text=message.wants_text)

    troubles: list[Trouble] = []
    stored = []
    for one, document in zip(batch, ports.map_items(partial(attempt, store), batch), strict=True):
        if isinstance(document, Exception):
            troubles.append(Trouble(one.delivery.received, "put", document))
        else:
            stored.append((one, document))
    unchecked = _resend_changed(ports, [one.fetched for one, _ in stored if one.delivery.is_upload])
    outcomes.reply(
        ports.replies,
        [one.delivery.message for one, _ in stored],
        [document for _, document in stored],
        ports.unreported,
    )
    troubles += unchecked
    troubled = {one.received.receipt for one in unchecked}
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


def _file_of(ports: WorkerPorts, delivery: Delivery) -> bytes:
    message = delivery.message
    if message.deadline_s is not None and ports.clock.now_s() > message.deadline_s:
        raise JobExpired
    if delivery.model not in ports.classifiers:
        raise ModelNotFound(f"no worker serves a model named {delivery.model!r} any more")
    if message.image is not None:
        return message.image
    try:
        # No web process has checked an uploaded object: it may be longer than any memory.
        if (
            delivery.is_upload
            and ports.images.head(message.input.image_key).size_bytes > ports.image_bytes_max
        ):
            raise ImageTooLarge
        return ports.images.get(message.input.image_key)
    except ObjectNotFound as exc:
        raise ImageGone from exc


def _resend_changed(ports: WorkerPorts, uploads: Sequence[Fetched]) -> list[Trouble]:
    """Send the events of uploads again whose object is no longer the one that was classified.

    Events come in any order and workers differ in speed, so a result may be written after that of a newer
    object. But every worker looks at the object again after it has written a result. The worker that writes
    last either finds what it classified, which is then the newest object, or sends the event again, and is
    not the last. An object that is put after that look has an event of its own, which leads to a later
    result.
    """
    if not uploads:
        return []
    troubles = []
    changed = []
    for now, before in zip(fetch(ports, [one.delivery for one in uploads]), uploads, strict=True):
        if isinstance(now, Trouble):
            troubles.append(now)
        elif now.fingerprint != before.fingerprint:
            changed.append(now.delivery)
    if changed:
        keys = [one.message.input.image_key for one in changed]
        log_event(_log, logging.INFO, "worker.upload_changed", "an object was replaced meanwhile", keys=keys)
        sent = send_each(ports.queue.send, [(one.received, [one.received.body]) for one in changed])
        troubles += [one for one in sent if isinstance(one, Trouble)]
    return troubles


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
            results.append(Classified(one.fetched, made))
    return results


def _failed(ports: WorkerPorts, one: Prepared, failure: Failure) -> Classified:
    delivery = one.delivery
    job = outcomes.failed_job(
        delivery.message, failure, ports.clock.now_s(), started_at_s=delivery.received_at_s
    )
    return Classified(one.fetched, job)


def _failure_of(error: BeholderError, delivery: Delivery) -> Failure:
    """Return the error as the job's caller sees it; the log gets every detail."""
    # The access log repeats the caller's error; only this line has what a library said.
    level = logging.ERROR if error.http_status >= _SERVER_ERROR else logging.INFO
    log_event(
        _log, level, "worker.job_failed", error.message, code=error.code, job_id=delivery.message.job_id
    )
    return Failure(code=error.code, status=error.http_status, detail=error.detail)
