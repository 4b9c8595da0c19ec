"""The queues and buckets of one deployment, whatever they are made of, and what they make worth while."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beholder.clock import Clock
from beholder.draining.protocol import DrainLimits
from beholder.queue.notifier import Notifier
from beholder.queue.port import Queue, Sender
from beholder.results.fan_out import MapItems
from beholder.store.port import Store

if TYPE_CHECKING:  # a worker needs nothing of the web tier
    from beholder.web.submission.direct_uploads import Presign
    from beholder.web.submission.reply_sources import ReplySource

__all__ = ["Backends", "OwnReplies", "Pace", "PerImage", "Scaling"]


@dataclass(frozen=True)
class OwnReplies:
    """Where one web process receives replies.

    Args:
        source: Brings them.
        name: Returns the name that workers reply to at present.
        ticks: What must run beside it.
    """

    source: "ReplySource"
    name: Callable[[], str]
    ticks: Mapping[str, Callable[[], float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PerImage:
    """How the steps of many images run: one after the other where a call costs nothing but work.

    Args:
        map_items: Runs a function for each of several images, and returns the results in the images' order.
        submit_threads: Batches of images that a web process stores at once.
        submit_batch_max: Images in one such batch.
        submit_gather_s: How long such a batch waits for more images, while they come one after another.
        submit_loop_bytes_max: Length of an image up to which the event loop stores it; -1 if it stores none.
        inline_bytes_max: Length of an image that rides inside its message.
    """

    map_items: MapItems = map
    submit_threads: int = 1
    submit_batch_max: int = 16
    submit_gather_s: float = 0.0
    submit_loop_bytes_max: int = -1
    inline_bytes_max: int = 0


@dataclass(frozen=True)
class Pace:
    """How often a process asks the backends, in seconds; each question costs money on AWS.

    Args:
        depth_every_s: Between two looks of a web process at the input queue's depth.
        ready_every_s: How long an answer of `/readyz` is good.
        receive_wait_s: How long one receive waits for a message.
        final_poll_s: How long the final poll of a draining worker waits; 0 where none is made.
        announce_every_s: Between two heartbeats of a worker that turns busy or idle, at least.
        peers_every_s: Between two looks of an idle worker for the other workers.
        cancellations_every_s: Between two looks of a worker for canceled jobs.
        drain: The times of a worker's drain.
    """

    depth_every_s: float = 0.25
    ready_every_s: float = 0.0
    receive_wait_s: float = 2.0
    final_poll_s: float = 0.0
    announce_every_s: float = 1.0
    peers_every_s: float = 2.0
    cancellations_every_s: float = 0.0
    drain: DrainLimits = field(
        default_factory=lambda: DrainLimits(lag_s=0.0, check_every_s=1.0, retry_s=2.0, look_every_s=2.0)
    )


@dataclass(frozen=True)
class Backends:
    """The queues and buckets of one deployment.

    Args:
        queue: The input queue.
        dead_letters: The queue of messages that were received too often.
        images: The input bucket.
        results: The output bucket.
        replies: Returns the way to the replies of a web process, by its name.
        own_replies: Opens what this web process receives replies from, for its name.
        clock: The time.
        per_image: How the steps of many images run.
        pace: How often the backends are asked.
        interrupt: Ends waiting for messages; for a process that ends.
        presign: Signs links by which callers put images into the input bucket; None if there are none.
        calls: How many requests were sent, by `service:operation`.
        running: Returns the jobs that workers hold and when each was received; none where that is not known.
        watching: Watches for messages that any process sends, as `SqliteQueue.watching`; None on AWS.
    """

    queue: Queue
    dead_letters: Queue
    images: Store
    results: Store
    replies: Callable[[str], Sender]
    own_replies: Callable[[str], AbstractContextManager[OwnReplies]]
    clock: Clock
    per_image: PerImage = field(default_factory=PerImage)
    pace: Pace = field(default_factory=Pace)
    interrupt: Callable[[], None] = lambda: None
    presign: "Presign | None" = None
    calls: Callable[[], Mapping[str, int]] = dict
    running: Callable[[], Mapping[str, float]] = dict
    watching: Callable[[], AbstractContextManager[Notifier]] | None = None


@dataclass(frozen=True)
class Scaling:
    """What scales the fleet beside a web process; by default nothing.

    Args:
        ticks: Each a `tick()` by its name.
        notifiers: End the sleep of the tick of that name when they are set.
        on_sent: Is called with the number of messages after each send.
    """

    ticks: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    notifiers: Mapping[str, threading.Event] = field(default_factory=dict)
    on_sent: Callable[[int], None] = lambda _count: None
