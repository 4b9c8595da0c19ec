"""The first step of a batch: bodies are parsed, and what is no job is settled at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from beholder.job import Message, MessageInvalid
from beholder.job.events import EventBatch, UnknownMessage
from beholder.queue.port import Received
from beholder.results.attempts import Trouble, attempt
from beholder.results.messages import ParsedMessage, parse_body
from beholder.telemetry.log import log_event
from beholder.worker.ports import WorkerPorts

__all__ = ["Delivery", "read", "send_each"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received job.

    Args:
        received: Its message as the queue delivered it.
        message: Its message as parsed.
        received_at_s: When it was received, seconds since the Unix epoch.
        model: Name of the model to run.
        is_upload: It comes from an upload event.
    """

    received: Received
    message: Message
    received_at_s: float
    model: str
    is_upload: bool


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
            model = parsed.message.input.options.model or ports.default_model
            found.append(Delivery(message, parsed.message, now_s, model, parsed.is_upload))
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
