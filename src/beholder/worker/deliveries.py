"""The first step of a batch: what was received is sorted, and what is no work is settled at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from beholder.job import Message, MessageInvalid
from beholder.job.events import EventBatch, UnknownMessage
from beholder.queue.port import Received
from beholder.results.attempts import Trouble, attempt
from beholder.results.messages import ParsedMessage, sort_body
from beholder.telemetry.log import get_logger, log_event
from beholder.worker.ports import WorkerPorts

__all__ = ["Delivery", "read", "send_each"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in hand, and whether its image was dropped into the bucket."""

    received: Received
    message: Message
    received_at_s: float
    is_drop: bool = False


def read(ports: WorkerPorts, received: Sequence[Received]) -> list[Delivery | Trouble]:
    """Sort what was received, and return what there is to do.

    The rest is acknowledged here: what asks nothing of a worker with a line in the log; an event of several
    objects once each has an event of its own in the queue; and what cannot be read once it is in the
    dead-letter queue, not on the floor.
    """
    now_s = ports.clock.now_s()
    sort = partial(sort_body, input_bucket=ports.input_bucket, now_s=now_s)
    found: list[Delivery | Trouble] = []
    settled = []
    again: list[tuple[Received, Sequence[bytes]]] = []
    unreadable: list[tuple[Received, Sequence[bytes]]] = []
    for one in received:
        kind = attempt(sort, one.body)
        if isinstance(kind, ParsedMessage):
            found.append(Delivery(one, kind.message, now_s, kind.is_drop))
        elif isinstance(kind, EventBatch):
            again.append((one, kind.bodies))
        elif isinstance(kind, UnknownMessage):
            _say_foreign(kind)
            settled.append(one)
        else:
            reason = kind.message if isinstance(kind, MessageInvalid) else f"{type(kind).__name__}: {kind}"
            log_event(_log, logging.WARNING, "worker.unreadable", reason, receive_count=one.receive_count)
            unreadable.append((one, [one.body]))
    for queue, bodies in ((ports.queue, again), (ports.dead_letters, unreadable)):
        sent = send_each(queue.send, bodies)
        found += [one for one in sent if isinstance(one, Trouble)]
        settled += [one for one in sent if isinstance(one, Received)]
    if settled:
        error = attempt(ports.queue.ack, [one.receipt for one in settled])
        if error is not None:
            found += [Trouble(one, "ack", error) for one in settled]
    return found


def send_each(
    send: Callable[[Sequence[bytes]], None], bodies: Sequence[tuple[Received, Sequence[bytes]]]
) -> list[Received | Trouble]:
    """Send all bodies at once, or, where that fails, those of each message alone."""
    if not bodies:
        return []
    if attempt(send, [body for _, some in bodies for body in some]) is None:
        return [one for one, _ in bodies]
    results: list[Received | Trouble] = []
    for one, some in bodies:
        error = attempt(send, some)
        results.append(one if error is None else Trouble(one, "send", error))
    return results


def _say_foreign(found: UnknownMessage) -> None:
    match found.kind:
        case "test event":
            log_event(_log, logging.INFO, "worker.test_event", found.reason)
        case "folder marker":
            log_event(_log, logging.INFO, "worker.drop_marker", found.reason)
        case "foreign":
            log_event(_log, logging.INFO, "worker.unknown_message", found.reason)
