"""What a worker works with: its two queues, its two buckets, its classifiers and its clock."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beholder.clock import Clock
from beholder.model.port import Classifier, Preprocessing
from beholder.queue.port import Queue, Sender
from beholder.results.counters import UnreportedCounters
from beholder.results.fan_out import MapItems
from beholder.store.port import Store
from beholder.worker.cancellations import Cancellations
from beholder.worker.shadow import Shadow

__all__ = ["WorkerPorts"]


@dataclass(frozen=True)
class WorkerPorts:
    """Everything that the consumers of one worker share.

    Args:
        queue: The input queue.
        dead_letters: The queue for bodies that cannot be read.
        replies: Returns the way to the replies of a web process, by its name.
        images: The input bucket.
        results: The output bucket.
        classifiers: Every model served, by its reference, or by the setting's text if it could not be loaded;
            the first is the default.
        prepare: Turns an image file's bytes into the classifier's input; raises `RequestError` or `JobError`.
        clock: The time.
        input_bucket: The bucket whose upload events are taken; empty to take none.
        image_bytes_max: A longer uploaded object is not read.
        receive_count_max: A message that fails at this receive is given up.
        is_heavy: Says whether an image file takes long to decode.
        heavy_decodes: Limits how many such files are decoded at once in this process.
        map_items: Reads and writes the objects of a batch.
        unreported: Counts the calls to AWS for the next reply.
        cancellations: Knows which jobs were canceled.
        ready_at_s: When the worker was ready, by the clock; it has always been if this is 0.
        shadow: The shadow model; None if there is none.
        upload_default: Returns the reference of the model for uploads; None for the first.
    """

    queue: Queue
    dead_letters: Queue
    replies: Callable[[str], Sender]
    images: Store
    results: Store
    classifiers: Mapping[str, Classifier]
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]]
    clock: Clock
    input_bucket: str
    image_bytes_max: int
    receive_count_max: int
    is_heavy: Callable[[bytes], bool]
    heavy_decodes: threading.Semaphore
    map_items: MapItems
    unreported: UnreportedCounters
    cancellations: Cancellations
    ready_at_s: float = 0.0
    upload_default: Callable[[], str | None] = lambda: None
    shadow: Shadow | None = None

    @property
    def default_model(self) -> str:
        """The reference of the model for jobs that name no model."""
        return next(iter(self.classifiers))
