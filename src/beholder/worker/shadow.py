"""Runs a shadow model on a share of the default model's traffic, and counts how the two agree.

A shadow's labels go nowhere. Its images wait in memory until a consumer has received nothing, so no job waits
for them in the queue; beyond the bounds of that memory they are skipped and counted.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beholder.errors import BeholderError
from beholder.job import Message
from beholder.model.port import Classifier, Preprocessing
from beholder.model.top import top_labels
from beholder.results.attempts import attempt
from beholder.telemetry.log import log_event

__all__ = ["Sample", "Shadow", "best_names"]

_log = logging.getLogger(__name__)

_BEST = 5
_WAITING_MAX = 64
_WAITING_BYTES_MAX = 40_000_000
_SHARE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """An answered job that the shadow is to be compared with.

    Args:
        message: The job's message.
        data: The image's file.
        model: The reference of the model that answered.
        best: The names of its five likeliest labels, the likeliest first.
    """

    message: Message
    data: bytes
    model: str
    best: tuple[str, ...]


class Shadow:
    """The shadow model of one worker; its consumers share it, and one at a time runs it.

    Args:
        classifier: The model.
        prepare: Turns an image file's bytes into the model's input.
        share: Of the jobs whose caller names no model, 0 to 1.
        is_heavy: Says whether an image file takes long to decode; such images are not compared.
    """

    def __init__(
        self,
        classifier: Classifier,
        prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]],
        share: float,
        is_heavy: Callable[[bytes], bool],
    ) -> None:
        self._classifier = classifier
        self._prepare = prepare
        self._share = share
        self._is_heavy = is_heavy
        self._reference = classifier.spec.reference
        self._waiting: deque[Sample] = deque()
        self._waiting_bytes = 0
        self._running = threading.Lock()
        # Guards the samples and the counts, for moments only.
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def has_work(self) -> bool:
        """Say whether a sample waits, and no other consumer runs the shadow."""
        return bool(self._waiting) and not self._running.locked()

    def totals(self) -> Mapping[str, int]:
        """Return what was counted since the process began, by `shadow:result`."""
        with self._lock:
            return {f"shadow:{result}": count for result, count in self._counts.items()}

    def takes(self, message: Message, model: str, data: bytes) -> bool:
        """Say whether a job belongs to the share; every delivery of a job gets the same answer.

        Args:
            message: The job's.
            model: The reference of the model that runs.
            data: The image's file.
        """
        options = message.input.options
        if options.model is not None or options.embed or model == self._reference:
            return False
        # The last digits of a job's id are random, or a digest's.
        part = int(message.job_id[-_SHARE_DIGITS:], 16) / 16**_SHARE_DIGITS
        return part < self._share and attempt(self._is_heavy, data) is False

    def offer(self, sample: Sample) -> None:
        """Keep an answered job until there is time for it; skip it if too many wait."""
        with self._lock:
            is_room = self._waiting_bytes + len(sample.data) <= _WAITING_BYTES_MAX
            if not is_room or len(self._waiting) >= _WAITING_MAX:
                self._counts["skipped"] += 1
                return
            self._waiting.append(sample)
            self._waiting_bytes += len(sample.data)

    def compare_next(self) -> Sample | None:
        """Run the shadow on the image that has waited longest; return None if there is none to run now."""
        if not self._running.acquire(blocking=False):
            return None
        try:
            with self._lock:
                if not self._waiting:
                    return None
                sample = self._waiting.popleft()
                self._waiting_bytes -= len(sample.data)
            found = attempt(self._best_of, sample.data)
            self._count(sample, found)
            return sample
        finally:
            self._running.release()

    def _best_of(self, data: bytes) -> tuple[str, ...]:
        spec = self._classifier.spec
        (row,) = self._classifier.classify([self._prepare(data, spec.preprocessing)])
        return best_names(row, spec.labels)

    def _count(self, sample: Sample, found: tuple[str, ...] | Exception) -> None:
        facts = {"job_id": sample.message.job_id, "model": sample.model, "shadow": self._reference}
        if isinstance(found, Exception):
            reason = found.message if isinstance(found, BeholderError) else f"{type(found).__name__}: {found}"
            log_event(_log, logging.WARNING, "worker.shadow_failed", reason, **facts)
            with self._lock:
                self._counts["failed"] += 1
            return
        is_same = sample.best[:1] == found[:1]
        if not is_same:
            facts |= {"answered": sample.best[0], "found": found[0]}
            log_event(
                _log, logging.INFO, "worker.shadow_disagreed", "the shadow names another label", **facts
            )
        with self._lock:
            self._counts["agreed" if is_same else "disagreed"] += 1
            self._counts["shared"] += len(set(sample.best) & set(found))


def best_names(row: NDArray[np.float32], labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the five likeliest labels, the likeliest first."""
    return tuple(label.name for label in top_labels(row, labels, top_k=_BEST, min_confidence=0.0))
