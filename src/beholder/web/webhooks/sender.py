"""Sends webhooks over HTTP, to the addresses that the policy allows.

The receiver's answer is its status: no body is read, no redirect is followed, and all of it takes a bounded
time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import aiohttp

from beholder.errors import UrlRefused, WebhookRefused
from beholder.web.submission.addresses import UrlPolicy, is_public
from beholder.web.submission.pinned import PinnedClients, Resolve
from beholder.web.webhooks.schedule import Attempt

__all__ = ["WebhookSender", "webhook_policy"]

_ATTEMPT_S_MAX = 15.0
# More than the deliveries to one host at once, so that one slow name server does not take all.
_RESOLVERS = 16
_HEADERS = {"Content-Type": "application/json", "User-Agent": "beholder"}


def webhook_policy(schemes: frozenset[str], networks: tuple[str, ...]) -> UrlPolicy:
    """Return which addresses webhooks are sent to.

    Args:
        schemes: The schemes that are allowed.
        networks: Networks that are allowed beside the public one; with any, a URL may name a port.
    """
    allowed = _PublicAnd(tuple(networks))
    return UrlPolicy(schemes, is_allowed=allowed, is_any_port=bool(networks))


@dataclass(frozen=True, slots=True)
class _PublicAnd:
    networks: tuple[str, ...]

    def __call__(self, address: str) -> bool:
        if is_public(address):
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in ip_network(one) for one in self.networks)


class WebhookSender:
    """Sends webhooks; used from one event loop.

    Args:
        policy: Which URLs and addresses are allowed.
        resolve: Returns the IP addresses of a host.
        attempt_s_max: How long one attempt may take.
    """

    def __init__(
        self, policy: UrlPolicy, *, resolve: Resolve | None = None, attempt_s_max: float = _ATTEMPT_S_MAX
    ) -> None:
        self._policy = policy
        self._clients = PinnedClients(policy, resolve, resolvers=_RESOLVERS)
        self._attempt_s_max = attempt_s_max

    def check(self, text: str) -> str:
        """Return the host of a URL.

        Raises:
            WebhookRefused: Webhooks are not sent to such a URL. A name is resolved only when one is sent.
        """
        try:
            host = str(self._policy.read(text).raw_host)
        except UrlRefused as exc:
            raise WebhookRefused from exc
        try:
            ip_address(host)
        except ValueError:
            return host
        if not self._policy.is_allowed(host):
            raise WebhookRefused
        return host

    async def post(self, text: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Send a body once; the URL and its host's addresses are checked again."""
        try:
            async with asyncio.timeout(self._attempt_s_max):
                url = self._policy.read(text)
                async with (
                    self._clients.client_for(url) as client,
                    client.post(
                        url, data=body, headers={**_HEADERS, **headers}, allow_redirects=False
                    ) as answer,
                ):
                    return Attempt(answer.status, retry_after=answer.headers.get("Retry-After", ""))
        except TimeoutError:
            return Attempt(0, f"no answer within {self._attempt_s_max:g} s")
        except UrlRefused:
            return Attempt(0, "the host has no address, or one that webhooks are not sent to")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # The message of such an error may have the URL, which may have a secret.
            return Attempt(0, f"no answer: {type(exc).__name__}")
