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

from beholder.errors import (
    BeholderError,
    ImageGone,
    ImageTooLarge,
    JobCanceled,
    JobError,
    JobExpired,
    ModelNotFound,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Failure, Job, JobStatus
from beholder.job.job import Result
from beholder.model.embedding import embedding_of
from beholder.model.port import ModelSpec
from beholder.model.top import labels_of
from beholder.results import outcomes
from beholder.results.attempts import Step, Trouble, attempt
from beholder.telemetry.log import log_event
from beholder.worker.deliveries import Delivery, read, send_each
from beholder.worker.ports import WorkerPorts
from beholder.worker.shadow import Sample, best_names
from beholder.worker.times import ModelRun

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
# In the document of a canceled job; the quotes of every text in it are escaped.
_CANCELED = b'"status": "canceled"'

_Made = TypeVar("_Made")


@dataclass(slots=True)
class Fetched:
    """A delivery with its image's file, or with the reason why there is none.

    Args:
        delivery: The delivery.
        data: The file; `decode` clears it to free the memory.
        failure: Why it could not be fetched.
        fetch_s: How long it took to read the file.
        fingerprint: For an upload, what stood under its key, so that a change is noticed.
        sample: The file, if the shadow is to be compared on it.
    """

    delivery: Delivery
    data: bytes | None = None
    failure: Failure | None = None
    fetch_s: float = 0.0
    fingerprint: str = ""
    sample: bytes | None = None

    @property
    def is_from_store(self) -> bool:
        """Say whether the store answered when asked for the image."""
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
    """A delivery with its outcome, and what the shadow's labels are compared with, if they are."""

    fetched: Fetched
    job: Job
    sample: Sample | None = None

    @property
    def delivery(self) -> Delivery:
        """The delivery."""
        return self.fetched.delivery


def fetch(ports: WorkerPorts, batch: Sequence[Delivery]) -> list[Fetched | Trouble]:
    """Read the images' files, except those of canceled jobs, which have their outcome."""
    canceled = ports.cancellations.among([one.message for one in batch if not one.is_upload])

    def fetch_one(delivery: Delivery) -> Fetched:
        try:
            if delivery.message.job_id in canceled:
                raise JobCanceled
            started_s = ports.clock.now_s()
            data = _file_of(ports, delivery)
            fetch_s = max(0.0, ports.clock.now_s() - started_s)
        except (RequestError, JobError) as exc:
            fingerprint = exc.code if delivery.is_upload else ""
            return Fetched(delivery, failure=_failure_of(exc, delivery), fingerprint=fingerprint)
        fingerprint = hashlib.sha256(data).hexdigest() if delivery.is_upload else ""
        return Fetched(delivery, data, fetch_s=fetch_s, fingerprint=fingerprint)

    results = ports.map_items(partial(attempt, fetch_one), batch)
    return [_or_trouble(delivery, "get", found) for delivery, found in zip(batch, results, strict=True)]


def light_first(ports: WorkerPorts, batch: Sequence[Fetched]) -> list[list[Fetched]]:
    """Split a batch for the next steps: all light images first, then each heavy one alone."""
    light: list[Fetched] = []
    heavy: list[list[Fetched]] = []
    for fetched in batch:
        # If a header cannot be read at all, `decode` meets the same error and reports it.
        if fetched.data is not None and attempt(ports.is_heavy, fetched.data) is True:
            heavy.append([fetched])
        else:
            light.append(fetched)
    return [light, *heavy] if light else heavy


def decode(
    ports: WorkerPorts, batch: Sequence[Fetched], announce: Callable[[Delivery], None]
) -> list[Prepared | Trouble]:
    """Decode the images one after the other; a heavy image waits while too many are being decoded.

    Args:
        ports: What the worker works with.
        batch: The fetched files; each is freed once it is decoded.
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
            fetched.sample = _sample_of(ports, fetched.delivery, fetched.data)
            announce(fetched.delivery)
        prepared.append(_or_trouble(fetched.delivery, "decode", attempt(decode_one, fetched)))
        fetched.data = None
    return prepared


def classify(ports: WorkerPorts, batch: Sequence[Prepared]) -> list[Classified | Trouble]:
    """Run the models over the decoded images and return every job's outcome.

    Each model has one batch for the jobs that ask for labels and one for those that ask for an embedding.

    If a model fails on a batch, it runs each image alone, so that the bad image costs the others nothing.
    """
    results: list[Classified | Trouble] = [
        _failed(ports, prepared, prepared.failure) for prepared in batch if prepared.failure is not None
    ]
    for kind in dict.fromkeys(map(_kind_of, batch)):
        group = [
            (prepared, prepared.image)
            for prepared in batch
            if _kind_of(prepared) == kind and prepared.image is not None
        ]
        if not group:
            continue
        run = partial(_classify_group, ports, kind)
        found = attempt(run, group)
        if not isinstance(found, Exception):
            results += found
            continue
        for prepared, image in group:
            alone = attempt(run, [(prepared, image)]) if len(group) > 1 else found
            if isinstance(alone, JobError):
                # The model says what is wrong with this image; another try would give the same answer.
                results.append(_failed(ports, prepared, _failure_of(alone, prepared.delivery)))
            elif isinstance(alone, Exception):
                results.append(Trouble(prepared.delivery.received, "classify", alone))
            else:
                results += alone
    return results


def settle(ports: WorkerPorts, batch: Sequence[Classified]) -> list[Classified | Trouble]:
    """Store every outcome, then send again the events of uploads that changed meanwhile, then reply.

    Returns:
        What can be acknowledged, and the trouble of the others.
    """

    def store(classified: Classified) -> bytes:
        message = classified.delivery.message
        if classified.delivery.is_upload:
            return outcomes.store_upload_outcome(ports.results, classified.job, message.input.image_key)
        return outcomes.store_outcome(ports.results, classified.job, wants_text=message.wants_text)

    troubles: list[Trouble] = []
    stored = []
    for classified, document in zip(batch, ports.map_items(partial(attempt, store), batch), strict=True):
        if isinstance(document, Exception):
            troubles.append(Trouble(classified.delivery.received, "put", document))
        else:
            stored.append((classified, document))
    ports.cancellations.note(one.delivery.message.job_id for one, document in stored if _CANCELED in document)
    uploads = [classified.fetched for classified, _ in stored if classified.delivery.is_upload]
    unchecked = _resend_changed(ports, uploads)
    outcomes.reply(
        ports.replies,
        [classified.delivery.message for classified, _ in stored],
        [document for _, document in stored],
        ports.unreported,
    )
    keep = {trouble.received.receipt for trouble in unchecked}
    done = [classified for classified, _ in stored if classified.delivery.received.receipt not in keep]
    return [*troubles, *unchecked, *done]


def ack(ports: WorkerPorts, batch: Sequence[Classified]) -> list[Trouble]:
    """Acknowledge the messages, whose results are stored."""
    if not batch:
        return []
    messages = [classified.delivery.received for classified in batch]
    error = attempt(ports.queue.ack, [received.receipt for received in messages])
    if error is not None:
        return [Trouble(received, "ack", error) for received in messages]
    ports.cancellations.forget(classified.delivery.message.job_id for classified in batch)
    return []


def _or_trouble(delivery: Delivery, step: Step, found: _Made | Exception) -> _Made | Trouble:
    return Trouble(delivery.received, step, found) if isinstance(found, Exception) else found


def _file_of(ports: WorkerPorts, delivery: Delivery) -> bytes:
    message = delivery.message
    if message.deadline_s is not None and ports.clock.now_s() > message.deadline_s:
        raise JobExpired
    if delivery.model not in ports.classifiers:
        raise ModelNotFound(f"no worker serves the model {delivery.model!r} any more")
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
    """Send the event of an upload again if its object is no longer the one that was classified.

    Events come in any order and workers differ in speed, so a result may be written after that of a newer
    object. Therefore every worker looks at the object again after it has written a result. The worker that
    writes last either finds what it classified, which is then the newest object, or sends the event again,
    and another result follows. An object that is put after that look has an event of its own.
    """
    if not uploads:
        return []
    troubles = []
    changed = []
    for now, before in zip(fetch(ports, [before.delivery for before in uploads]), uploads, strict=True):
        if isinstance(now, Trouble):
            troubles.append(now)
        elif now.fingerprint != before.fingerprint:
            changed.append(now.delivery)
    if changed:
        keys = [delivery.message.input.image_key for delivery in changed]
        log_event(_log, logging.INFO, "worker.upload_changed", "an object was replaced meanwhile", keys=keys)
        events = [(delivery.received, [delivery.received.body]) for delivery in changed]
        troubles += [sent for sent in send_each(ports.queue.send, events) if isinstance(sent, Trouble)]
    return troubles


def _kind_of(prepared: Prepared) -> tuple[str, bool]:
    """Return its model, and whether it asks for an embedding."""
    return prepared.delivery.model, prepared.delivery.message.input.options.embed


def _classify_group(
    ports: WorkerPorts, kind: tuple[str, bool], group: Sequence[tuple[Prepared, NDArray[np.uint8]]]
) -> list[Classified | Trouble]:
    model, embed = kind
    classifier = ports.classifiers[model]
    started_s = ports.clock.now_s()
    rows = (classifier.embed if embed else classifier.classify)([image for _, image in group])
    run = ModelRun(started_s, ports.clock.now_s(), len(group), ports.ready_at_s)
    if len(rows) != len(group):
        raise ValueError(f"the model gave {len(rows)} rows for {len(group)} images")

    def job(prepared: Prepared, row: NDArray[np.float32]) -> Job:
        message, received_at_s = prepared.delivery.message, prepared.delivery.received_at_s
        return Job(
            id=message.job_id,
            status=JobStatus.SUCCEEDED,
            created_at_s=message.created_at_s,
            input=message.input,
            started_at_s=received_at_s,
            completed_at_s=run.done_at_s,
            model=classifier.spec.name,
            model_version=classifier.spec.version,
            result=(
                Result((), embedding_of(row))
                if embed
                else Result(labels_of(row, classifier.spec, message.input.options))
            ),
            metrics=run.metrics_of(prepared.delivery, prepared.fetched.fetch_s, prepared.decode_ms),
        )

    results: list[Classified | Trouble] = []
    for (prepared, _), row in zip(group, rows, strict=True):
        made = attempt(partial(job, prepared), row)
        if isinstance(made, Exception):
            results.append(Trouble(prepared.delivery.received, "classify", made))
        else:
            results.append(Classified(prepared.fetched, made, _compared(prepared, classifier.spec, row)))
    return results


def _sample_of(ports: WorkerPorts, delivery: Delivery, data: bytes) -> bytes | None:
    is_taken = ports.shadow is not None and ports.shadow.takes(delivery.message, delivery.model, data)
    return data if is_taken else None


def _compared(prepared: Prepared, spec: ModelSpec, row: NDArray[np.float32]) -> Sample | None:
    data = prepared.fetched.sample
    if data is None:
        return None
    return Sample(prepared.delivery.message, data, spec.reference, best_names(row, spec.labels))


def _failed(ports: WorkerPorts, prepared: Prepared, failure: Failure) -> Classified:
    delivery = prepared.delivery
    job = outcomes.failed_job(
        delivery.message, failure, ports.clock.now_s(), started_at_s=delivery.received_at_s
    )
    return Classified(prepared.fetched, job)


def _failure_of(error: BeholderError, delivery: Delivery) -> Failure:
    """Return the error as the job's caller sees it; the log gets every detail."""
    # The access log has the caller's error; only this line has what a library said.
    level = logging.ERROR if error.http_status >= _SERVER_ERROR else logging.INFO
    log_event(
        _log, level, "worker.job_failed", error.message, code=error.code, job_id=delivery.message.job_id
    )
    return Failure(code=error.code, status=error.http_status, detail=error.detail)
