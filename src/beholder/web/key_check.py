"""Checks the API key of each request, before its route and its body; absent where keys are off."""

import hashlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beholder.api_keys import KeyScope, KnownKeys
from beholder.clock import Clock
from beholder.errors import KeyMissing, KeyRefused, ScopeMissing
from beholder.web.access_log import entry_of
from beholder.web.routes.compat.rekognition import is_for_rekognition
from beholder.web.signature import is_signed, read_signature

__all__ = ["KeyCheck", "scope_needed"]

# Pages and the description of the interface contain no caller's data, and a person enters a key on the page.
_OPEN = {
    "/",
    "/docs",
    "/fleet",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
    "/health-check",
}
_OF_OPERATORS = {"/metrics", "/v1/fleet", "/v1/fleet/history", "/v1/dead-letters", "/v1/jobs"}
_SET_BY_OPERATORS = {"/v1/models/default"}
_REDRIVES = "/v1/dead-letters/"
_BEARER = b"bearer "


class KeyCheck:
    """Refuses requests whose key does not allow them.

    Args:
        app: The routes.
        keys: The API keys.
        clock: The time.
    """

    def __init__(self, app: ASGIApp, keys: KnownKeys, clock: Clock) -> None:
        self._app = app
        self._keys = keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            KeyMissing: It has no key, and needs one.
            KeyRefused: Its key is unknown, revoked or expired.
            ScopeMissing: Its key does not allow it.
            BackendUnavailable: The store does not answer, and the key is not known.
        """
        needed = scope_needed(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if needed is not None and is_for_rekognition(scope) and is_signed(scope):
            receive = await self._check_signature(scope, receive)
        elif needed is not None:
            text = _key_in(scope)
            if text is None:
                raise KeyMissing
            key = await self._keys.find(text)
            if key is None:
                raise KeyRefused
            entry_of(scope).key_id = key.id
            scope["api_key"] = key
            if needed not in key.scopes:
                raise ScopeMissing(scope=needed)
        await self._app(scope, receive, send)

    async def _check_signature(self, scope: Scope, receive: Receive) -> Receive:
        """Check what a client of AWS signed; return the `receive` that refuses a body that was not signed."""
        signature = read_signature(scope)
        if signature is None:
            raise KeyRefused(
                "the signature cannot be read; sign by SigV4 with a time, the host and the target"
            )
        key = await self._keys.find_by_id(signature.key_id)
        if key is None:
            raise KeyRefused
        entry_of(scope).key_id = key.id
        scope["api_key"] = key
        if KeyScope.AWS not in key.scopes:
            raise ScopeMissing(scope=KeyScope.AWS)
        if not signature.is_recent(self._clock.now_s()):
            raise KeyRefused(
                "the request was signed more than 15 minutes ago, or ahead; set the client's clock"
            )
        digest = hashlib.sha256()

        async def checked() -> Message:
            message = await receive()
            digest.update(message.get("body", b""))
            is_whole = message["type"] == "http.request" and not message.get("more_body", False)
            if is_whole and not signature.matches(key.sha256, digest.hexdigest()):
                raise KeyRefused("the signature is not that of this request; check the secret access key")
            return message

        return checked


def scope_needed(method: str, path: str) -> KeyScope | None:
    """Return the scope that a request needs; None if it needs no key."""
    if method not in ("GET", "HEAD"):
        is_operators = path.removesuffix("\n") in _SET_BY_OPERATORS or path.startswith(_REDRIVES)
        return KeyScope.ADMIN if is_operators else KeyScope.WRITE
    if path in _OPEN or path.startswith("/assets/"):
        return None
    # A route's pattern ends with `$`, which also matches before a line end, so `/metrics%0A` is served too.
    return KeyScope.ADMIN if path.removesuffix("\n") in _OF_OPERATORS else KeyScope.READ


def _key_in(scope: Scope) -> bytes | None:
    """Return the key that a request sends; a bearer token comes before X-API-Key."""
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            token: bytes = value[len(_BEARER) :].strip()
            return token
        if name == b"x-api-key":
            found = value.strip()
    return found
