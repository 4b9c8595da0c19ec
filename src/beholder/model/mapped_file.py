"""Maps large files into memory: their pages are read as they are used, and need not stay."""

import ctypes
import mmap
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["few_pages_resident", "map_file", "pages_given_back"]

# Compiling reads half a gigabyte a second.
_RELEASE_S = 0.01
_given_back: ContextVar[Path | None] = ContextVar("_given_back", default=None)
_DONT_NEED = 4  # MADV_DONTNEED of Linux


def map_file(path: Path) -> memoryview:
    """Return the bytes of a file; raises OSError if it cannot be read.

    The file must not be shortened as long as they are in use.
    """
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        is_empty = not file.seek(0, 2)
        return memoryview(b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def few_pages_resident(path: Path) -> Iterator[None]:
    """Make `pages_given_back` work on a mapped file, in this thread."""
    token = _given_back.set(path)
    try:
        yield
    finally:
        _given_back.reset(token)


@contextmanager
def pages_given_back() -> Iterator[None]:
    """Give the pages of the file back to the system every few milliseconds, on Linux.

    Compiling reads each weight once and keeps all of their pages, beside as many bytes of its own form. The
    kernel takes such pages back only when all memory is in use, which a container with a limit of its own
    notices too late. A page that is needed again comes from the page cache.

    The file must stay mapped where it is until this ends: the same call on other memory would empty it.
    """
    path = _given_back.get()
    if path is None or sys.platform != "linux":
        yield
        return
    spans, ended = _mapped_spans(path), threading.Event()

    def run() -> None:
        library = ctypes.CDLL(None)
        while not ended.wait(_RELEASE_S):
            for start, end in spans:
                library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)

    thread = threading.Thread(target=run, name="pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _mapped_spans(path: Path) -> list[tuple[int, int]]:
    """Return where a file is mapped to be read only; a page that can be written may hold what it does not."""
    name = str(path.resolve()).encode()
    spans = []
    for line in Path("/proc/self/maps").read_bytes().splitlines():
        span, access, *_, file = line.split(None, 5)
        if file == name and access.startswith(b"r-"):
            start, end = (int(place, 16) for place in span.split(b"-"))
            spans.append((start, end))
    return spans
