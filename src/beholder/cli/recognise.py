"""Recognises image files in this process, as many at once as there are copies of the model."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beholder.client.images import STDIN, FileResult
from beholder.errors import ConfigError, JobError, RequestError
from beholder.job import Options
from beholder.model.port import Classifier, Preprocessing
from beholder.model.top import labels_of

__all__ = ["recognise"]

# Threads for each copy of the model: while one waits for a disk or the model, another reads and decodes.
_THREADS_EACH = 2
# Images begun before the first of them is done: one that takes long does not stop the others.
_AHEAD_EACH = 8


def recognise(
    files: Sequence[str],
    classifier: Classifier,
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]],
    *,
    top_k: int,
    min_confidence: float,
    copies: int,
) -> Iterator[FileResult]:
    """Yield the labels of each file, in the given order; a file that fails does not stop the others.

    Memory does not grow with the number of files.

    Args:
        files: As `find_images` returns them.
        classifier: The model, warm; threads call it at the same time.
        prepare: From an image file's bytes to the model's input.
        top_k: The highest number of labels.
        min_confidence: Labels below this probability are left out.
        copies: How many images the classifier runs at the same time.
    """

    def result_of(file: str) -> FileResult:
        try:
            data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
            probabilities = classifier.classify([prepare(data, classifier.spec.preprocessing)])[0]
        except (RequestError, JobError) as exc:
            return FileResult(file, error=exc)
        except OSError as exc:
            return FileResult(file, error=ConfigError(f"cannot be read: {exc.strerror}"))
        options = Options(top_k=top_k, min_confidence=min_confidence)
        return FileResult(file, labels_of(probabilities, classifier.spec, options))

    begun: deque[Future[FileResult]] = deque()
    pool = ThreadPoolExecutor(_THREADS_EACH * copies)
    try:
        for file in files:
            begun.append(pool.submit(result_of, file))
            if len(begun) >= _AHEAD_EACH * copies:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
