"""Retention: finished jobs are deleted, oldest first, with everything that the buckets hold of them.

A job without a readable outcome is never deleted, whatever its age. The outcome is deleted last, so a process
that dies in between leaves nothing that looks like an unfinished job.
"""

import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.job import is_job_id
from beholder.job.ids import created_at_s
from beholder.store.keys import (
    IMAGES,
    RESULTS,
    canceled_key,
    dead_letter_key,
    image_prefix,
    is_direct_upload_key,
    job_id_of_image,
    kept_webhook_key,
    resent_key,
    result_key,
    text_key,
    webhook_key,
)
from beholder.store.port import ObjectInfo, Store
from beholder.store.recovery import has_outcome, is_unsubmitted
from beholder.telemetry.log import log_event

__all__ = ["Bounds", "Expired", "Retention", "SteadyClock", "expired"]

_log = logging.getLogger(__name__)

# Job ids made from idempotency keys hold no time, and sort before all others.
_KEYED_END = f"{RESULTS}00000000-0000-8"
_KEYED_AT_ONCE = 10_000
_REST = ("dead/unreadable/", "dead/claims/", "resent/")
# More deletions make the creation of files slow for minutes on ext4, which skips inodes that were just freed.
_JOBS_PER_PASS = 20
_JOBS_PER_PASS_WHEN_FULL = 100
_PASS_S = 1.0
_SWEEP_S_MAX = 3600.0
_SWEEP_S_MIN = 1.0
# Adding up the sizes of a large store takes long; the pause after it is this many times as long.
_MEASURING_SHARE = 50
_JUMP_S = 60.0
_BELIEVED_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how much the buckets keep.

    Args:
        age_s_max: Seconds since an outcome was stored; None for ever.
        bytes_max: Bytes of images and outcomes together; None for no bound.
    """

    age_s_max: float | None
    bytes_max: int | None


@dataclass(frozen=True, slots=True)
class Expired:
    """A job, or a leftover, to be deleted.

    Args:
        name: The job's id, or the leftover's key.
        image_keys: Keys of its images, in the input bucket.
        keys: Its other keys, in the output bucket, in the order of their deletion.
        size_bytes: Bytes of the images and the outcome.
    """

    name: str
    image_keys: tuple[str, ...]
    keys: tuple[str, ...]
    size_bytes: int

    def delete(self, images: Store, results: Store) -> None:
        """Delete all of its objects.

        Raises:
            BackendError: Some are left; the next sweep finds them.
        """
        for key in self.image_keys:
            images.delete(key)
        for key in self.keys:
            results.delete(key)


def expired(images: Store, results: Store, bounds: Bounds, now_s: float) -> Iterator[Expired]:
    """Yield the jobs and leftovers beyond the bounds, oldest first.

    The caller deletes each before it takes the next, or none at all. A job is too old if it is so both by its
    id and by the time at which its outcome was stored.

    Args:
        images: The input bucket.
        results: The output bucket.
        bounds: How much the buckets keep.
        now_s: Seconds since the Unix epoch.

    Raises:
        BackendError: A bucket cannot be read.
    """
    oldest_s = -1.0 if bounds.age_s_max is None else now_s - bounds.age_s_max
    excess = 0
    if bounds.bytes_max is not None:
        excess = _size_of(images) + _size_of(results) - bounds.bytes_max
    for at_s, info in _oldest_first(results):
        is_old = at_s <= oldest_s and info.stored_at_s <= oldest_s
        if not is_old and excess <= 0:
            if at_s > oldest_s:
                break
            continue
        found = _all_of(info, images, results)
        if found is not None:
            excess -= found.size_bytes
            yield found
    if bounds.age_s_max is not None:
        yield from _leftovers(images, results, oldest_s)


def _leftovers(images: Store, results: Store, oldest_s: float) -> Iterator[Expired]:
    """Yield what belongs to no job: images that were sent by a link and never asked for, and records."""
    for info in images.list(IMAGES):
        if info.stored_at_s <= oldest_s and is_unsubmitted(results, job_id_of_image(info.key), info.key):
            yield Expired(info.key, (info.key,), (), info.size_bytes)
    for prefix in _REST:
        for info in results.list(prefix):
            if info.stored_at_s <= oldest_s and not _marks_submitted(info.key, images):
                yield Expired(info.key, (), (info.key,), info.size_bytes)


def _marks_submitted(key: str, images: Store) -> bool:
    """Return whether a record says of an image that was sent by a link that its job was made."""
    job_id = key.removeprefix("resent/").removesuffix(".json")
    is_record = key.startswith("resent/") and is_job_id(job_id)
    return is_record and any(is_direct_upload_key(one.key) for one in images.list(image_prefix(job_id)))


def _oldest_first(results: Store) -> Iterator[tuple[float, ObjectInfo]]:
    """Yield outcomes in the order of their times, each with its time."""

    def keyed() -> Iterator[tuple[float, str, ObjectInfo]]:
        for info in results.list(RESULTS):
            if info.key >= _KEYED_END:
                return
            if _is_outcome(info):
                yield info.stored_at_s, info.key, info

    def others() -> Iterator[tuple[float, str, ObjectInfo]]:
        for info in results.list(RESULTS):
            if info.key >= _KEYED_END and _is_outcome(info):
                yield created_at_s(_job_id_of(info)), info.key, info

    for at_s, _, info in heapq.merge(heapq.nsmallest(_KEYED_AT_ONCE, keyed()), others()):
        yield at_s, info


def _all_of(info: ObjectInfo, images: Store, results: Store) -> Expired | None:
    """Return all objects of a job; None if it is unfinished, or its outcome cannot be read."""
    job_id = _job_id_of(info)
    found = tuple(images.list(image_prefix(job_id)))
    if found and not has_outcome(results, job_id):
        return None
    size_bytes = info.size_bytes + sum(image.size_bytes for image in found)
    keys = (
        dead_letter_key(job_id),
        resent_key(job_id),
        text_key(job_id),
        canceled_key(job_id),
        webhook_key(job_id),
        kept_webhook_key(job_id),
        result_key(job_id),
    )
    return Expired(job_id, tuple(image.key for image in found), keys, size_bytes)


def _job_id_of(info: ObjectInfo) -> str:
    return info.key.removeprefix(RESULTS).removesuffix(".json")


def _is_outcome(info: ObjectInfo) -> bool:
    return info.key.endswith(".json") and is_job_id(_job_id_of(info))


def _size_of(store: Store) -> int:
    return sum(info.size_bytes for prefix in (IMAGES, RESULTS) for info in store.list(prefix))


class SteadyClock:
    """The time of day; a jump ahead counts only once it has lasted for an hour.

    Otherwise a clock that is set to next year by mistake would make every job too old at once.

    Args:
        clock: The time of day.
        elapsed: A monotonic clock.
    """

    def __init__(self, clock: Clock, elapsed: Clock) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._offset_s = clock.now_s() - elapsed.now_s()
        self._ahead_since_s: float | None = None

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        elapsed_s = self._elapsed.now_s()
        offset_s = self._clock.now_s() - elapsed_s
        if offset_s > self._offset_s + _JUMP_S:
            if self._ahead_since_s is None:
                self._ahead_since_s = elapsed_s
            if elapsed_s - self._ahead_since_s < _BELIEVED_AFTER_S:
                return self._offset_s + elapsed_s
        self._ahead_since_s = None
        self._offset_s = offset_s
        return offset_s + elapsed_s


class Retention:
    """Deletes the jobs beyond the bounds, a few each second.

    Args:
        images: The input bucket.
        results: The output bucket.
        bounds: How much the buckets keep.
        clock: The time of day; a `SteadyClock` in production.
        elapsed: The clock for durations.
        tidy: Removes leftovers of killed processes that are older than a time, and returns how many.
    """

    def __init__(
        self,
        images: Store,
        results: Store,
        bounds: Bounds,
        clock: Clock,
        *,
        elapsed: Clock,
        tidy: Callable[[float], int] = lambda _before_s: 0,
    ) -> None:
        self._images = images
        self._results = results
        self._bounds = bounds
        self._clock = clock
        self._elapsed = elapsed
        self._tidy = tidy
        self._sweep: Iterator[Expired] | None = None
        self._deleted = 0
        self._left: list[str] = []
        self._took_s = 0.0

    def tick(self) -> float:
        """Delete a few jobs; return the seconds until the next pass."""
        began_s = self._elapsed.now_s()
        if self._sweep is None:
            now_s = self._clock.now_s()
            self._sweep = expired(self._images, self._results, self._bounds, now_s)
            self._deleted, self._left, self._took_s = 0, [], 0.0
        count = _JOBS_PER_PASS if self._bounds.bytes_max is None else _JOBS_PER_PASS_WHEN_FULL
        try:
            for _ in range(count):
                found = next(self._sweep, None)
                if found is None:
                    self._took_s += self._elapsed.now_s() - began_s
                    return self._end()
                self._delete(found)
        except BaseException:
            self._sweep = None
            raise
        self._took_s += self._elapsed.now_s() - began_s
        return _PASS_S

    def _delete(self, found: Expired) -> None:
        """Delete one job; if the store refuses, go on with the others, and the next sweep finds it again."""
        try:
            found.delete(self._images, self._results)
            self._deleted += 1
        except BackendError as exc:
            self._left.append(exc.message)

    def _end(self) -> float:
        self._sweep = None
        left = self._tidy(self._clock.now_s() - _SWEEP_S_MAX)
        if self._deleted or left:
            log_event(
                _log,
                logging.INFO,
                "retention.deleted",
                "old jobs were deleted",
                jobs=self._deleted,
                leftovers=left,
            )
        if self._left:
            log_event(_log, logging.WARNING, "retention.left", self._left[0], jobs=len(self._left))
        pause_s = _SWEEP_S_MAX
        if self._bounds.age_s_max is not None:
            pause_s = min(pause_s, self._bounds.age_s_max / 10)
        if self._bounds.bytes_max is not None:
            pause_s = min(pause_s, 60.0)
        return max(pause_s, _SWEEP_S_MIN, self._took_s * _MEASURING_SHARE)
