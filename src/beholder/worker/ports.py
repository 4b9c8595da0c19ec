"""What a worker works with: its two queues, its two buckets, its classifiers and its clock."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from beholder.clock import Clock
from beholder.model.port import Classifier, Preprocessing
from beholder.queue.port import Queue
from beholder.results.counters import UnreportedCounters
from beholder.results.fan_out import MapItems, map_in_turn
from beholder.store.port import Store

__all__ = ["WorkerPorts"]


def _no_calls() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True)
class WorkerPorts:
    """Everything a worker touches; consumers of one worker share it.

    Args:
        queue: The input queue.
        dead_letters: Where bodies go that nobody here can read.
        replies: Gives the reply queue of a web process by its name.
        images: The input bucket.
        results: The output bucket.
        classifiers: Every model served, by name; the first is the default.
        prepare: From an image file's bytes to what the classifier takes; raises `RequestError` or `JobError`.
        clock: The time.
        input_bucket: Name of the input bucket, by which events tell of it; empty where no drop is taken.
        image_bytes_max: A dropped object that is longer is not read; None for no bound.
        receive_count_max: A message that fails at this receive is given up.
        is_heavy: Whether an image file takes long to decode.
        heavy_decodes: So many such files are decoded at once in this process.
        map_items: Reads and writes the objects of a batch.
        calls: Gives the AWS calls since the process began, by `service:Operation`.
    """

    queue: Queue
    dead_letters: Queue
    replies: Callable[[str], Queue]
    images: Store
    results: Store
    classifiers: Mapping[str, Classifier]
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]]
    clock: Clock
    input_bucket: str = ""
    image_bytes_max: int | None = None
    receive_count_max: int = 3
    is_heavy: Callable[[bytes], bool] = lambda _data: False
    heavy_decodes: threading.Semaphore = field(default_factory=threading.Semaphore)
    map_items: MapItems = map_in_turn
    calls: Callable[[], Mapping[str, int]] = _no_calls

    default_model: str = field(init=False)
    unreported_calls: UnreportedCounters = field(init=False)

    def __post_init__(self) -> None:
        """Name the default model, and have told of no call yet."""
        object.__setattr__(self, "default_model", next(iter(self.classifiers), ""))
        object.__setattr__(self, "unreported_calls", UnreportedCounters(self.calls))
