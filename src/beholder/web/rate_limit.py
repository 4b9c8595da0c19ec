"""Limits how many requests one caller may send in a minute, before their bodies are read."""

from ipaddress import ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from beholder.api_keys import ApiKey, KeyScope
from beholder.clock import Clock
from beholder.errors import RateLimited
from beholder.web.key_check import scope_needed
from beholder.web.token_bucket import TokenBucket

__all__ = ["RateLimit"]

# How many callers are remembered; one whose bucket is whole again needs no memory.
_CALLERS_MAX = 10_000
# What one customer of a provider has at least; RFC 6177.
_IPV6_NETWORK_BITS = 64


class RateLimit:
    """Refuses a request that writes from a caller who has sent too many; what only reads is not counted.

    A caller is an API key; where keys are off it is a client's address, of IPv6 its network of 64 bits.
    Each web process counts for itself.

    Args:
        app: The routes.
        per_minute: How many a caller may send in a minute, if its key does not say; None for any number.
        clock: A time that nobody sets.
    """

    def __init__(self, app: ASGIApp, per_minute: int | None, clock: Clock) -> None:
        self._app = app
        self._per_minute = per_minute
        self._clock = clock
        self._by_caller: dict[str, TokenBucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            RateLimited: The caller has sent as many as it may.
        """
        if scope["type"] == "http" and scope_needed(scope["method"], scope["path"]) == KeyScope.WRITE:
            bucket = scope["token_bucket"] = self._bucket_of(scope)
            if bucket is not None:
                if not bucket.left:
                    raise RateLimited(retry_after_s=bucket.wait_s)
                bucket.take(1)
        await self._app(scope, receive, send)

    def _bucket_of(self, scope: Scope) -> TokenBucket | None:
        key: ApiKey | None = scope.get("api_key")
        per_minute = key.per_minute if key and key.per_minute else self._per_minute
        if per_minute is None:
            return None
        caller = key.id if key else _network_of(scope)
        bucket = self._by_caller.get(caller)
        if bucket is None or bucket.per_minute != per_minute:
            self._forget()
            bucket = self._by_caller[caller] = TokenBucket(per_minute, self._clock)
        return bucket

    def _forget(self) -> None:
        """Forget callers whose buckets are whole, if there are many; then those who came first."""
        if len(self._by_caller) < _CALLERS_MAX:
            return
        now_s = self._clock.now_s()
        kept = [(caller, one) for caller, one in self._by_caller.items() if one.whole_at_s > now_s]
        self._by_caller = dict(kept[-_CALLERS_MAX // 2 :])


def _network_of(scope: Scope) -> str:
    host = scope["client"][0] if scope.get("client") else ""
    if ":" not in host:
        return str(host)
    return str(ip_network((host.partition("%")[0], _IPV6_NETWORK_BITS), strict=False))
