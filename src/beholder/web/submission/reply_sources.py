"""Where replies come from: a queue that a thread receives from, or a socket that the event loop reads."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from beholder.queue.port import Receiver
from beholder.queue.reply_socket import ReplySocket
from beholder.runner import Runner

__all__ = ["PolledReplies", "ReplySource", "SocketReplies"]

_BATCH = 10
# An ack costs a transaction and a second delivery costs nothing, so several passes share one ack.
_ACK_BATCH_MAX = 50
_PASSES_BEFORE_ACK = 10
# Longer than that many passes take, since a reply that became visible again would be counted twice.
_VISIBILITY_TIMEOUT_S = 300.0

OnReplies = Callable[[Sequence[bytes]], None]


class ReplySource(Protocol):
    """Brings the replies of workers to the event loop."""

    def listen(self, on_replies: OnReplies, runner: Runner) -> None:
        """Call `on_replies` in the running event loop with what arrives, from now on.

        Args:
            on_replies: Takes the bodies of one or more replies.
            runner: Runs what needs a thread, until it is stopped.
        """
        ...


class SocketReplies:
    """The replies at a socket, which the event loop reads by itself.

    Args:
        socket: The socket; closed after the loop.
    """

    def __init__(self, socket: ReplySocket) -> None:
        self._socket = socket

    def listen(self, on_replies: OnReplies, runner: Runner) -> None:  # noqa: ARG002 -- no thread is needed
        """Read the socket whenever a reply is there; see `ReplySource.listen`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), lambda: on_replies(self._socket.receive()))


class PolledReplies:
    """The replies in a queue, whose receive blocks.

    Args:
        queue: The reply queue of this web process.
        wait_s: How long one pass waits for a reply.
    """

    def __init__(self, queue: Receiver, *, wait_s: float = 1.0) -> None:
        self._queue = queue
        self._wait_s = wait_s
        self._receipts: list[str] = []
        self._passes = 0

    def listen(self, on_replies: OnReplies, runner: Runner) -> None:
        """Receive in a thread; see `ReplySource.listen`."""
        loop = asyncio.get_running_loop()
        runner.start(
            "replies", lambda: self.tick(lambda bodies: loop.call_soon_threadsafe(on_replies, bodies))
        )

    def tick(self, on_replies: Callable[[Sequence[bytes]], object]) -> float:
        """Receive replies once; return the seconds until the next pass."""
        received = self._queue.receive(
            count_max=_BATCH, wait_s=self._wait_s, visibility_timeout_s=_VISIBILITY_TIMEOUT_S
        )
        if received:
            on_replies([one.body for one in received])
        self._receipts += [one.receipt for one in received]
        self._passes += 1
        if not received or len(self._receipts) >= _ACK_BATCH_MAX or self._passes >= _PASSES_BEFORE_ACK:
            self._queue.ack(self._receipts)
            self._receipts = []
            self._passes = 0
        return 0.0
