"""Fetches the image at an address that a caller sent, within bounds of bytes and seconds.

Each hop resolves its host once, checks every address, and connects to these addresses and no others: a name
that has another address a moment later (DNS rebinding) changes nothing. Redirects are followed here and not
by the HTTP client, so that each is a new hop.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from beholder.errors import ImageTooLarge, Overloaded, UrlFailed, UrlRefused
from beholder.web.limits import WebLimits
from beholder.web.submission.addresses import UrlPolicy
from beholder.web.submission.upload import Reservation

__all__ = ["Resolve", "UrlFetcher"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_REDIRECTS_MAX = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK_BYTES = 65_536
_LINE_BYTES_MAX, _HEADERS_MAX = 4_096, 64
# Names are resolved in threads of their own: a slow name server holds up no other work.
_RESOLVERS = 4
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
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        self._resolve = resolve or self._look_up
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
        host, port = str(url.raw_host), int(url.port or 0)
        addresses = await self._resolve(host, port)
        if not addresses or not all(self._policy.is_allowed(one) for one in addresses):
            raise UrlRefused
        connector = aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_LINE_BYTES_MAX,
                max_field_size=_LINE_BYTES_MAX,
                max_headers=_HEADERS_MAX,
            ) as session,
            session.get(url, headers=_HEADERS, allow_redirects=False) as response,
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

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses that the system knows; none if the name has none, as for a private one."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _addresses_of, host, port)
        except (OSError, UnicodeError):
            return ()
        return [str(sockaddr[0]) for *_, sockaddr in found]


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever the name."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 -- the addresses say it
    ) -> list[ResolveResult]:
        """Return the addresses."""
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for one in self._addresses
        ]

    async def close(self) -> None:
        """Do nothing; no connection is kept."""


def _addresses_of(host: str, port: int) -> Any:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _too_large(bytes_max: int) -> ImageTooLarge:
    return ImageTooLarge(f"the file at the address has more than {bytes_max} bytes; send a smaller image")
