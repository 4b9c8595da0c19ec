"""HTTP clients for addresses that callers name: each connects to the addresses that were checked, alone.

A host is resolved once, every address that it has is checked, and the client connects to these and no others:
a name that has another address a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from beholder.errors import UrlRefused
from beholder.web.submission.addresses import UrlPolicy

__all__ = ["PinnedClients", "Resolve"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_LINE_BYTES_MAX, _HEADERS_MAX = 4_096, 64


class PinnedClients:
    """Makes the clients; used from one event loop.

    Args:
        policy: Which addresses are allowed.
        resolve: Returns the IP addresses of a host; by default as the system knows them.
        resolvers: Threads that resolve names, of their own: a slow name server holds up no other work.
    """

    def __init__(self, policy: UrlPolicy, resolve: Resolve | None = None, *, resolvers: int = 4) -> None:
        self._policy = policy
        self._threads = ThreadPoolExecutor(resolvers, thread_name_prefix="resolve")
        self._resolve = resolve or self._look_up

    @contextlib.asynccontextmanager
    async def client_for(self, url: URL) -> AsyncIterator[aiohttp.ClientSession]:
        """Open a client for one request to a URL.

        Raises:
            UrlRefused: The host has no address, or one that is not allowed.
        """
        addresses = await self._resolve(str(url.raw_host), int(url.port or 0))
        if not addresses or not all(self._policy.is_allowed(one) for one in addresses):
            raise UrlRefused
        connector = aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            max_headers=_HEADERS_MAX,
        ) as session:
            yield session

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
