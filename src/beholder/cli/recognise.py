"""Recognises image files in this process: threads decode, the model runs on all cores."""

import glob
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beholder.errors import BeholderError, ConfigError, JobError, RequestError
from beholder.job import Label
from beholder.loadgen.plan import IMAGE_TYPES
from beholder.model.port import Classifier, Preprocessing
from beholder.model.top import top_labels

__all__ = ["STDIN", "FileResult", "find_images", "recognise"]

STDIN = "-"
_DECODED_AHEAD = 4


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file: its labels, best first, or the error."""

    file: str
    labels: tuple[Label, ...] = ()
    error: BeholderError | None = None


def find_images(paths: Sequence[str]) -> list[str]:
    """Return the image files that paths, folders (with all below them), globs and '-' stand for.

    A file given by its path may have any name; in a folder, files with an image's suffix are found. Hidden
    folders inside a folder are skipped, because programs keep thumbnails and the like there.

    Raises:
        ConfigError: Paths are empty or lead to no image; the error names all of them.
    """
    found: list[str] = []
    problems = []
    for path in paths:
        here = Path(path)
        if not path:
            # Path("") is the current folder; an empty path is more likely an unset variable.
            problems.append(
                "a path is empty; give a file, a folder or a pattern, or . for the current folder"
            )
        elif path == STDIN or here.is_file():
            found.append(path)
        elif here.is_dir():
            inside = sorted(str(one) for one in _walk(here))
            found.extend(inside)
            if not inside:
                problems.append(f"{path} holds no image ({', '.join(sorted(IMAGE_TYPES))})")
        elif matching := sorted(one for one in glob.iglob(path, recursive=True) if Path(one).is_file()):  # noqa: PTH207 -- Path.glob takes no absolute pattern
            found.extend(matching)
        else:
            problems.append(f"{path} is neither a file, a folder nor a pattern that matches one")
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(found))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for one in (Path(parent, name) for name in files):
            if one.suffix.lower() in IMAGE_TYPES and one.is_file():
                yield one


def recognise(
    files: Sequence[str],
    classifier: Classifier,
    prepare: Callable[[bytes, Preprocessing], NDArray[np.uint8]],
    *,
    top_k: int,
    min_confidence: float,
    threads: int,
) -> Iterator[FileResult]:
    """Yield the labels of each file, in the given order; a file that fails does not stop the others.

    Args:
        files: As `find_images` returns them.
        classifier: The model, warm.
        prepare: From an image file's bytes to the model's input.
        top_k: The highest number of labels.
        min_confidence: Labels below this probability are left out.
        threads: How many images are decoded at once.
    """

    def load(file: str) -> NDArray[np.uint8]:
        data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return prepare(data, classifier.spec.preprocessing)

    todo = iter(files)
    ahead: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while True:
            for file in todo:
                ahead.append((file, pool.submit(load, file)))
                if len(ahead) >= _DECODED_AHEAD * threads:
                    break
            if not ahead:
                return
            file, decoded = ahead.popleft()
            try:
                probabilities = classifier.classify([decoded.result()])[0]
            except (RequestError, JobError) as exc:
                yield FileResult(file, error=exc)
            except OSError as exc:
                yield FileResult(file, error=ConfigError(f"cannot be read: {exc.strerror}"))
            else:
                labels = classifier.spec.labels
                yield FileResult(
                    file, top_labels(probabilities, labels, top_k=top_k, min_confidence=min_confidence)
                )
