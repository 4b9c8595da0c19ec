"""Images in buckets of S3: which the service reads."""

import asyncio
from collections.abc import Callable, Sequence

from beholder.errors import (
    BackendDenied,
    BucketFailed,
    BucketRefused,
    ImageTooLarge,
    ObjectNotFound,
    Overloaded,
)
from beholder.store.port import FoundObject
from beholder.web.limits import WebLimits
from beholder.web.submission.upload import S3Object
from beholder.web.submission.upload_budget import Reservation

__all__ = ["S3Fetcher"]

Open = Callable[[str, str, str | None], FoundObject]


class S3Fetcher:
    """Reads images from the buckets that the operator allows; used from one event loop.

    Args:
        allowed: Buckets, or the beginnings of keys in them, as `bucket/prefix`.
        open_object: Finds an object; it blocks, so it is called in a thread.
        limits: How long an image may be, and how many are read at once.
    """

    def __init__(self, allowed: Sequence[str], open_object: Open, limits: WebLimits) -> None:
        self._allowed = tuple(one.partition("/")[::2] for one in allowed)
        self._open = open_object
        self._limits = limits
        self._count = 0

    async def fetch(self, wanted: S3Object, reservation: Reservation) -> bytes:
        """Return the bytes of an object.

        Args:
            wanted: The object.
            reservation: Counts its bytes.

        Raises:
            BucketRefused: The operator allows no such bucket or key.
            BucketFailed: The object is missing, or S3 refuses to let the service read it.
            ImageTooLarge: It has more bytes than an image may have.
            Overloaded: Too many images are being fetched, or its bytes do not fit in the budget.
            BackendError: S3 does not answer.
        """
        if not any(wanted.bucket == bucket and wanted.key.startswith(key) for bucket, key in self._allowed):
            raise BucketRefused
        if self._count >= self._limits.fetches_max:
            raise Overloaded(
                "too many images are being fetched at once; try again after the time in Retry-After"
            )
        self._count += 1
        try:
            found = await asyncio.to_thread(self._open, wanted.bucket, wanted.key, wanted.version)
            if found.size_bytes > self._limits.image.image_bytes_max:
                raise ImageTooLarge(
                    f"the object has {found.size_bytes} bytes, more than the "
                    f"{self._limits.image.image_bytes_max} allowed; send a smaller image"
                )
            reservation.grow_to(found.size_bytes)
            return await asyncio.to_thread(found.read)
        except (ObjectNotFound, BackendDenied) as exc:
            raise BucketFailed from exc
        finally:
            self._count -= 1
