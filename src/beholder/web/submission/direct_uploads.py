"""Direct uploads: a link to send an image to, which makes a job later.

On AWS the link leads to S3, so that the image never passes the web tier; on one machine it leads here.
Nothing is stored until the image comes: an upload's id is that of its job, and tells when the link was made.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from beholder.clock import Clock
from beholder.documents import Time
from beholder.errors import (
    ImageMissing,
    ImageTooLarge,
    ObjectExists,
    ObjectNotFound,
    UploadLinkExpired,
    UploadNotFound,
    UploadTaken,
)
from beholder.job import is_job_id, new_job_id
from beholder.job.ids import created_at_s
from beholder.store.keys import direct_upload_key, image_prefix
from beholder.store.port import Store
from beholder.web.limits import WebLimits
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.upload import StoredImage

__all__ = ["MEDIA_TYPE_PATTERN", "DirectUploads", "Presign", "UploadDocument"]

MEDIA_TYPE_PATTERN = r"^[!-~]{1,60}/[!-~]{1,60}$"
"""Of the type that the PUT of an image may state."""

Presign = Callable[[str, int, str, float], tuple[str, Mapping[str, str]]]
"""Returns the URL of a PUT for a key, a length, a content type and so many seconds, and the PUT's headers."""


@dataclass(frozen=True, slots=True)
class UploadDocument:
    """A link to send one image to."""

    id: Annotated[str, "Names the upload, and later its job."]
    method: Annotated[str, "Always `PUT`."]
    url: Annotated[str, "Where to send the image, as the body."]
    headers: Annotated[Mapping[str, str], "Headers that the PUT must have, exactly so."]
    expires_at_s: Annotated[Time, "Until when the link is good."]


class DirectUploads:
    """Makes links, and finds what was sent to them.

    Args:
        images: The input bucket.
        limits: How long an image may be, and how long a link is good.
        clock: The time.
        lookups: Runs what blocks.
        presign: Signs links to the input bucket; None if links lead to this service.
    """

    def __init__(
        self, images: Store, limits: WebLimits, clock: Clock, lookups: Executor, presign: Presign | None
    ) -> None:
        self._images = images
        self._limits = limits
        self._clock = clock
        self._lookups = lookups
        self._presign = presign

    async def new_link(self, owner: str, size_bytes: int, content_type: str, base_url: str) -> UploadDocument:
        """Return a new link.

        Args:
            owner: The id of the caller's API key; empty if it has none.
            size_bytes: Length of the image that will be sent.
            content_type: The type that the PUT will state.
            base_url: Of this service, with a slash at its end.

        Raises:
            ImageTooLarge: The image would be larger than allowed.
            BackendError: The link cannot be signed.
        """
        self._check_size(size_bytes)
        now_s = self._clock.now_s()
        upload_id, valid_s = new_job_id(now_s), self._limits.upload_link_s
        if self._presign is None:
            url, headers = f"{base_url}v1/uploads/{upload_id}", {"Content-Type": content_type}
        else:
            key = direct_upload_key(upload_id, owner)
            # Credentials that end soon are fetched anew before they sign.
            url, found = await asyncio.get_running_loop().run_in_executor(
                self._lookups, self._presign, key, size_bytes, content_type, valid_s
            )
            headers = dict(found)
        return UploadDocument(upload_id, "PUT", url, headers, now_s + valid_s)

    def check_link(self, upload_id: str) -> None:
        """Refuse a link that leads here and is no longer good, or never was.

        Raises:
            UploadNotFound: There is no such link.
            UploadLinkExpired: It was made too long ago.
        """
        age_s = self._clock.now_s() - created_at_s(upload_id) if is_job_id(upload_id) else -1.0
        if self._presign is not None or age_s < 0:
            raise UploadNotFound
        if age_s > self._limits.upload_link_s:
            raise UploadLinkExpired

    async def store(self, owner: str, upload_id: str, data: bytes) -> None:
        """Keep the image that was sent to a link.

        Raises:
            ImageMissing: It is empty.
            ImageTooLarge: It has more bytes than allowed.
            UploadNotFound: The id is that of a job which was made otherwise, or another key used the link.
            UploadTaken: The link was used before.
            BackendError: It was not stored.
        """
        self._check_size(len(data))
        key = direct_upload_key(upload_id, owner)

        def put() -> None:
            # No record tells which links were made; the image of any other job stands before its id is told.
            if any(info.key != key for info in self._images.list(image_prefix(upload_id))):
                raise UploadNotFound
            self._images.put(key, data, only_if_absent=True)

        try:
            await asyncio.get_running_loop().run_in_executor(self._lookups, put)
        except ObjectExists as exc:
            raise UploadTaken from exc

    async def find(self, owner: str, upload_id: str) -> StoredImage:
        """Return what was sent to a link.

        Args:
            owner: The id of the caller's API key; empty if it has none.
            upload_id: The upload.

        Raises:
            UploadNotFound: Nothing was sent, or another key asked for the link.
            ImageMissing: It is empty.
            ImageTooLarge: It has more bytes than allowed.
            BackendError: The input bucket does not answer.
        """
        if not is_job_id(upload_id):
            raise UploadNotFound
        key = direct_upload_key(upload_id, owner)
        try:
            info = await bounded(self._lookups, LOOKUP_S_MAX, self._images.head, key)
        except ObjectNotFound as exc:
            raise UploadNotFound from exc
        self._check_size(info.size_bytes)
        return StoredImage(upload_id, key, info.size_bytes)

    def _check_size(self, size_bytes: int) -> None:
        if not size_bytes:
            raise ImageMissing("the upload is empty; send an image")
        bytes_max = self._limits.image.image_bytes_max
        if size_bytes > bytes_max:
            raise ImageTooLarge(
                f"the upload has {size_bytes} bytes, more than the {bytes_max} allowed; send a smaller image"
            )
