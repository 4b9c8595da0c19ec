"""The first step of a batch: bodies are parsed, and what is no job is settled at once."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from beholder.job import Message, MessageInvalid
from beholder.job.events import EventBatch, UnknownMessage
from beholder.job.reference import split_reference
from beholder.queue.port import Received
from beholder.results.attempts import Trouble, attempt
from beholder.results.messages import ParsedMessage, parse_body
from beholder.telemetry.log import log_event
from beholder.worker.ports import WorkerPorts

__all__ = ["Delivery", "choose_model", "read", "send_each"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received job.

    Args:
        received: Its message as the queue delivered it.
        message: Its message as parsed.
        received_at_s: When it was received, seconds since the Unix epoch.
        model: Reference of the model to run.
        is_upload: It comes from an upload event.
    """

    received: Received
    message: Message
    received_at_s: float
    model: str
    is_upload: bool


def _delivery(ports: WorkerPorts, received: Received, parsed: ParsedMessage, now_s: float) -> Delivery:
    message = parsed.message
    if parsed.is_upload and len(ports.classifiers) > 1:
        message = replace(message, model=ports.upload_default())
    model = choose_model(message, ports.classifiers, ports.default_model)
    return Delivery(received, message, now_s, model, parsed.is_upload)


def choose_model(message: Message, served: Collection[str], default: str) -> str:
    """Return the reference of the model to run; it may be one that is not served, so that the job fails.

    The model was chosen when the job was accepted. Another one runs only where this worker lacks that one, as
    after an upgrade: the model of the name that the caller gave, or the default if the caller gave none. The
    class numbers of filters would mean other labels there, so such a job fails.

    Args:
        message: The job's.
        served: The references of the models that are served; a name alone is that of a model not loaded.
        default: The model for jobs whose caller named none.
    """
    options, chosen = message.input.options, message.model
    if chosen is not None:
        found = _first(chosen, served)
        if found is not None or options.include or options.exclude:
            return found or chosen
    return default if options.model is None else _first(options.model, served) or options.model


def _first(asked: str, served: Collection[str]) -> str | None:
    name, version = split_reference(asked)
    for one in served:
        its_name, its_version = split_reference(one)
        if its_name == name and (version is None or its_version in {None, version}):
            return one
    return None


def read(ports: WorkerPorts, received: Sequence[Received]) -> list[Delivery | Trouble]:
    """Parse what was received, and return the jobs.

    The rest is acknowledged here: an unknown message once it is logged; an event of several objects once an
    event for each of them is sent; an unreadable body once it is sent to the dead-letter queue.
    """
    now_s = ports.clock.now_s()
    parse = partial(parse_body, input_bucket=ports.input_bucket, now_s=now_s)
    found: list[Delivery | Trouble] = []
    settled = []
    single_events: list[tuple[Received, Sequence[bytes]]] = []
    unreadable: list[tuple[Received, Sequence[bytes]]] = []
    for message in received:
        parsed = attempt(parse, message.body)
        if isinstance(parsed, ParsedMessage):
            found.append(_delivery(ports, message, parsed, now_s))
        elif isinstance(parsed, EventBatch):
            single_events.append((message, parsed.bodies))
        elif isinstance(parsed, UnknownMessage):
            _log_unknown(parsed)
            settled.append(message)
        else:
            reason = (
                parsed.message if isinstance(parsed, MessageInvalid) else f"{type(parsed).__name__}: {parsed}"
            )
            log_event(_log, logging.WARNING, "worker.unreadable", reason, receive_count=message.receive_count)
            unreadable.append((message, [message.body]))
    for queue, bodies in ((ports.queue, single_events), (ports.dead_letters, unreadable)):
        for sent in send_each(queue.send, bodies):
            if isinstance(sent, Trouble):
                found.append(sent)
            else:
                settled.append(sent)
    if settled:
        error = attempt(ports.queue.ack, [message.receipt for message in settled])
        if error is not None:
            found += [Trouble(message, "ack", error) for message in settled]
    return found


def send_each(
    send: Callable[[Sequence[bytes]], None], bodies: Sequence[tuple[Received, Sequence[bytes]]]
) -> list[Received | Trouble]:
    """Send all bodies at once or, if that fails, those of each message alone."""
    if not bodies:
        return []
    if attempt(send, [body for _, some in bodies for body in some]) is None:
        return [message for message, _ in bodies]
    results: list[Received | Trouble] = []
    for message, some in bodies:
        error = attempt(send, some)
        results.append(message if error is None else Trouble(message, "send", error))
    return results


def _log_unknown(found: UnknownMessage) -> None:
    match found.kind:
        case "test event":
            log_event(_log, logging.INFO, "worker.test_event", found.reason)
        case "folder marker":
            log_event(_log, logging.INFO, "worker.folder_marker", found.reason)
        case "no upload":
            log_event(_log, logging.INFO, "worker.unknown_message", found.reason)
