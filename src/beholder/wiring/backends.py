"""The queues and buckets of one deployment, whatever they are made of."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from beholder.clock import Clock
from beholder.queue.port import Queue
from beholder.store.port import Store

__all__ = ["Backends", "OwnReplies", "PerImage"]


@dataclass(frozen=True)
class OwnReplies:
    """The reply queue of one web process.

    Args:
        queue: To receive from.
        name: Tells what workers must be told, now.
        ticks: What must run beside it.
    """

    queue: Queue
    name: Callable[[], str]
    ticks: Mapping[str, Callable[[], float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PerImage:
    """How the steps of many images run: one after the other where a call costs nothing but work.

    Args:
        map_items: Runs a function for each of several images, and returns what it returned, in their order.
        accept_threads: Batches of images that a web process stores at once.
        accept_batch_max: Images in one such batch.
        accept_gather_s: How long such a batch waits for more images, while they come one after another.
        inline_bytes_max: Length of an image that rides inside its message.
    """

    map_items: Callable[[Callable[[Any], Any], Any], Iterator[Any]] = map
    accept_threads: int = 1
    accept_batch_max: int = 16
    accept_gather_s: float = 0.0
    inline_bytes_max: int = 0


@dataclass(frozen=True)
class Backends:
    """The queues and buckets of one deployment.

    Args:
        queue: The input queue.
        dead_letters: The queue of messages that were received too often.
        images: The input bucket.
        results: The output bucket.
        replies: Gives the reply queue of a web process by its name.
        own_replies: Opens the reply queue of this web process, for its name.
        clock: The time.
        per_image: How the steps of many images run.
        interrupt: Ends waiting for messages; for a process that ends.
        calls: How many requests were sent, by `service:operation`.
        depth_every_s: How often a web process may ask for the input queue's depth.
        ready_every_s: How long an answer of `/readyz` is good.
        receive_wait_s: How long one receive waits for a message.
        final_poll_s: How long the final poll of a worker waits that wants to leave; 0 for none.
    """

    queue: Queue
    dead_letters: Queue
    images: Store
    results: Store
    replies: Callable[[str], Queue]
    own_replies: Callable[[str], AbstractContextManager[OwnReplies]]
    clock: Clock
    per_image: PerImage = field(default_factory=PerImage)
    interrupt: Callable[[], None] = lambda: None
    calls: Callable[[], Mapping[str, int]] = dict
    depth_every_s: float = 0.25
    ready_every_s: float = 0.0
    receive_wait_s: float = 1.0
    final_poll_s: float = 0.0
