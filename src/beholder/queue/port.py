"""The queue port: what every room may ask of a queue. Its semantics are those of SQS.

At least once; hidden time counted from the call; receive counts; redrive to a dead-letter queue once a
message has been received `receive_count_max` times and is due again; approximate depths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Protocol

__all__ = ["Depth", "Priority", "Queue", "Received", "Receiver", "Sender"]


class Priority(IntFlag):
    """The class of a message: which messages a receive takes first, and which it takes alone."""

    ASYNCHRONOUS = 0
    """No client waits for its outcome in an open request."""
    INTERACTIVE = 1
    """A client waits: the message goes first, but for the share of asynchronous messages."""
    HEAVY = 2
    """Its work takes long: it is received alone, and only so many are in flight at once."""


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery of a message.

    Args:
        body: The bytes that were sent.
        receipt: Names this delivery for extend, ack and nack; new at each receive.
        receive_count: How often the message has been received, this time included; 1 at first.
    """

    body: bytes
    receipt: str
    receive_count: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Approximate numbers of messages.

    Args:
        backlog: Visible, waiting for a receiver.
        in_flight: Received and neither acked nor visible again.
        delayed: Not visible yet, because the queue is set up to delay messages; only SQS knows that.
        interactive: How many of the backlog are interactive; None if the backend cannot tell.
    """

    backlog: int
    in_flight: int
    delayed: int
    interactive: int | None = field(default=None, compare=False)


class Receiver(Protocol):
    """A queue, as a part sees it that only receives; many threads may use it at once.

    Every method raises `BackendUnavailable` if the backend cannot be reached (the call may be repeated), and
    `BackendDenied` if it refuses the call.
    """

    def receive(
        self, *, count_max: int, wait_s: float, visibility_timeout_s: float | None = None
    ) -> list[Received]:
        """Take up to `count_max` visible messages, the oldest of each class first, and hide them.

        It waits up to `wait_s` for the first message, returns as soon as it is there, and returns an empty
        list if none comes. A message that was already received `receive_count_max` times moves to the
        dead-letter queue instead.

        Args:
            count_max: 1 to 10.
            wait_s: 0 returns at once.
            visibility_timeout_s: Hidden time counted from this call; None for the queue's own.
        """
        ...

    def ack(self, receipts: Sequence[str]) -> None:
        """Delete messages for good; a receipt whose message is gone or was received again is ignored."""
        ...


class Sender(Protocol):
    """The way to the replies of one web process; it may lose what it has taken."""

    def send(self, bodies: Sequence[bytes]) -> None:
        """Send every body as a message of its own.

        Raises:
            BackendError: Some of them were not sent.
        """
        ...


class Queue(Receiver, Protocol):
    """A queue of byte strings; its methods raise what those of `Receiver` raise."""

    def send(self, bodies: Sequence[bytes], *, priority: Priority = Priority.ASYNCHRONOUS) -> None:
        """Store every body as a message of its own; all of them are durable when this returns.

        Args:
            bodies: Any number of messages.
            priority: The class of all of them; a hint if the backend knows no classes.

        Raises:
            BackendFull: There is no room; none of the bodies was stored.
        """
        ...

    def extend(self, receipts: Sequence[str], *, timeout_s: float) -> list[str]:
        """Hide messages for `timeout_s` more seconds, counted from this call.

        Returns:
            The receipts that hold nothing any more: their time ran out, or they were acked.
        """
        ...

    def nack(self, receipts: Sequence[str]) -> None:
        """Make messages visible now; a receipt that holds nothing any more is ignored."""
        ...

    def depth(self) -> Depth:
        """Return the approximate number of messages."""
        ...
