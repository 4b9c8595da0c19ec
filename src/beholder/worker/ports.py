"""What a worker works with: its two queues, its two buckets, its classifiers and its clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from beholder.clock import Clock
from beholder.model.port import Classifier, Preprocessing
from beholder.queue.port import Queue
from beholder.store.port import Store

__all__ = ["WorkerPorts"]


@dataclass(frozen=True)
class WorkerPorts:
    """Everything a worker touches.

    Args:
        queue: The input queue.
        dead_letters: Where bodies go that nobody here can read.
        replies: Gives the reply queue of a web process by its name.
        images: The input bucket.
        results: The output bucket.
        classifiers: Every model served, by name; the first is the default.
        prepare: From an image file's bytes to what the classifier takes; raises `RequestError` or `JobError`.
        clock: The time.
    """

    queue: Queue
    dead_letters: Queue
    replies: Callable[[str], Queue]
    images: Store
    results: Store
    classifiers: Mapping[str, Classifier]
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]]
    clock: Clock

    default_model: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the default model."""
        object.__setattr__(self, "default_model", next(iter(self.classifiers), ""))
