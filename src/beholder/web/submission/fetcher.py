"""Fetches the image at an address that a caller sent, within bounds of bytes and seconds.

Redirects are followed here and not by the HTTP client, so that each is a new hop with a client of its own
(`pinned.py`).
"""

import asyncio
from http import HTTPStatus

import aiohttp
from yarl import URL

from beholder.errors import ImageTooLarge, Overloaded, UrlFailed
from beholder.web.limits import WebLimits
from beholder.web.submission.addresses import UrlPolicy
from beholder.web.submission.pinned import PinnedClients, Resolve
from beholder.web.submission.upload_budget import Reservation

__all__ = ["UrlFetcher"]

_REDIRECTS_MAX = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK_BYTES = 65_536
_HEADERS = {"Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "beholder"}


class UrlFetcher:
    """Fetches images; used from one event loop.

    Args:
        policy: Which URLs and addresses are allowed.
        limits: How long an image may be, how long a fetch may take, and how many go on at once.
        resolve: Returns the IP addresses of a host.
    """

    def __init__(self, policy: UrlPolicy, limits: WebLimits, *, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._limits = limits
        self._clients = PinnedClients(policy, resolve)
        self._count = 0

    async def fetch(self, text: str, reservation: Reservation) -> bytes:
        """Return the file at a URL.

        Args:
            text: The URL as the caller sent it.
            reservation: Counts the file's bytes.

        Raises:
            UrlRefused: The URL, or one that it redirects to, is not one that the service fetches from.
            UrlFailed: The server did not send a file in time.
            ImageTooLarge: The file is longer than an image may be.
            Overloaded: Too many fetches go on, or the file does not fit in the budget of bytes.
        """
        if self._count >= self._limits.fetches_max:
            raise Overloaded(
                "too many images are being fetched at once; try again after the time in Retry-After"
            )
        self._count += 1
        try:
            async with asyncio.timeout(self._limits.fetch_s_max):
                url = self._policy.read(text)
                for _ in range(_REDIRECTS_MAX + 1):
                    found = await self._hop(url, reservation)
                    if isinstance(found, bytes):
                        return found
                    url = found
                raise UrlFailed(f"the address redirects more than {_REDIRECTS_MAX} times")
        except TimeoutError as exc:
            raise UrlFailed(
                f"no file came within {self._limits.fetch_s_max:g} s; send the image itself"
            ) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise UrlFailed from exc
        finally:
            self._count -= 1

    async def _hop(self, url: URL, reservation: Reservation) -> bytes | URL:
        """Return the file at a URL, or the URL that it redirects to."""
        async with (
            self._clients.client_for(url) as client,
            client.get(url, headers=_HEADERS, allow_redirects=False) as response,
        ):
            if response.status in _REDIRECTS:
                target = url.join(URL(response.headers.get("Location", "")))
                return self._policy.read(str(target))
            if response.status != HTTPStatus.OK:
                raise UrlFailed(
                    f"the address answers with the status {response.status}; send the image itself"
                )
            return await self._read(response, reservation)

    async def _read(self, response: aiohttp.ClientResponse, reservation: Reservation) -> bytes:
        bytes_max = self._limits.image.image_bytes_max
        chunks: list[bytes] = []
        read = 0
        declared = response.content_length or 0
        if declared > bytes_max:
            raise _too_large(bytes_max)
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            read += len(chunk)
            if read > bytes_max:
                raise _too_large(bytes_max)
            reservation.grow_to(read)
            chunks.append(chunk)
        return b"".join(chunks)


def _too_large(bytes_max: int) -> ImageTooLarge:
    return ImageTooLarge(f"the file at the address has more than {bytes_max} bytes; send a smaller image")
