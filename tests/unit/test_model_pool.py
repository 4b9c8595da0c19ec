"""The pool: as many batches at once as there are classifiers, and no classifier used twice at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.model.pool import ClassifierPool
from helpers.rig import FakeClassifier


class Meeting(FakeClassifier):
    """Runs only once as many run as shall meet, and notes whether two threads were in it at once."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__("first")
        self._barrier = barrier
        self._alone = threading.Lock()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        assert self._alone.acquire(blocking=False), "two threads in one classifier"
        try:
            self._barrier.wait(60)
            return super().classify(images)
        finally:
            self._alone.release()


def test_as_many_batches_run_at_once_as_there_are_classifiers() -> None:
    # given
    barrier = threading.Barrier(3)
    pool = ClassifierPool([Meeting(barrier) for _ in range(3)])
    image = np.zeros((1, 1, 3), np.uint8)
    # when
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda _: pool.classify([image]), range(12)))
    # then
    assert len(found) == 12
    assert pool.spec.name == "first"


def test_a_classifier_that_fails_is_used_again() -> None:
    classifier = FakeClassifier("first")
    pool = ClassifierPool([classifier])
    with pytest.raises(ZeroDivisionError):
        pool.classify(_Broken())
    assert len(pool.classify([np.zeros((1, 1, 3), np.uint8)])) == 1


class _Broken(list):  # type: ignore[type-arg]
    def __iter__(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError
