"""Jobs by their ids, newest first, from stores that list keys in ascending order only.

Ids are read as numbers. A window of them, below those that were yielded already, is listed and reversed; the
next window is wider if it was almost empty, and narrower if it holds more than one listing returns. Ids of
idempotency keys have no time: they come last, in no order.
"""

from collections.abc import Iterator
from itertools import islice

from beholder.job import is_job_id
from beholder.store.keys import IMAGES, job_id_of_image
from beholder.store.port import Store

__all__ = ["id_at", "newest_first"]

# One LIST of S3 returns so many.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, MaxKeys (2026-11)
_PAGE = 1000
_SPARSE = _PAGE // 8
_GROWTH = 8
_FIRST_S = 3600.0
_BITS = 80
_DIGITS = 32
# An earlier time, in milliseconds, is that of a clock that was not set; that of idempotency keys is 0.
_TIMED = 500_000_000_000 << _BITS
_KEYED_END = 1 << _BITS
_END = (1 << 128) - 1


def id_at(at_s: float) -> str:
    """Return the least job id of a time, in seconds since the Unix epoch."""
    return _text(round(at_s * 1000) << _BITS)


def newest_first(images: Store, *, now_s: float, below: str = "", since: str = "") -> Iterator[str]:
    """Yield the ids of the jobs whose image is stored, highest first.

    Args:
        images: The input bucket.
        now_s: Seconds since the Unix epoch; ids of clocks that are ahead are found, too.
        below: All ids are lower; empty for no bound.
        since: No id is lower; empty for no bound.

    Raises:
        BackendError: The bucket cannot be listed.
    """
    first = _number(since) if since else 0
    high = _number(below) if below else _END
    for floor in (_number(id_at(now_s)), _TIMED, _KEYED_END, 0):
        end = max(floor, first)
        width = round(_FIRST_S * 1000) << _BITS if floor == _TIMED else _END
        yield from _newest_in(images, end, high, width)
        high = min(high, end)


def _newest_in(images: Store, end: int, high: int, width: int) -> Iterator[str]:
    """Yield the ids from `high` down to `end`, first those of a window so wide."""
    crowded, is_sparse = -1, False  # where a window began that held more than a page
    while high > end:
        low = max(high - width, end)
        if is_sparse and 0 <= crowded < high:
            low = crowded + (high - crowded) // _GROWTH
        found, is_whole = _ids_in(images, low, high)
        if not is_whole and high - low > 1:
            # The rest of the window is taken to be as crowded as its beginning.
            width = max(min((high - low) // 2, _number(found[-1]) - low if found else width), 1)
            crowded, is_sparse = low, False
            continue
        yield from reversed(found)
        high, is_sparse = low, len(found) < _SPARSE
        width *= _GROWTH if is_sparse else 1


def _ids_in(images: Store, low: int, high: int) -> tuple[list[str], bool]:
    """Return the ids in a window, ascending, and whether these are all; otherwise they are the first ones."""
    end = _text(high)
    found: dict[str, None] = {}
    after = f"{IMAGES}{_text(low)}"
    count = 0
    for info in islice(images.list(IMAGES, after=after), _PAGE):
        job_id = job_id_of_image(info.key)
        if job_id >= end:
            return list(found), True
        count += 1
        if is_job_id(job_id):
            found[job_id] = None
    return list(found), count < _PAGE


def _number(job_id: str) -> int:
    return int(job_id.replace("-", ""), 16)


def _text(number: int) -> str:
    digits = f"{number:0{_DIGITS}x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
