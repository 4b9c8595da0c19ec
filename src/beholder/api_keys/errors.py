"""The errors of API keys; a part of the tree in `beholder.errors`."""

from beholder.errors import RequestError

__all__ = ["KeyMissing", "KeyRefused", "ScopeMissing"]


class KeyMissing(RequestError):
    """The request has no API key; send one as Authorization: Bearer, or as X-API-Key."""

    code = "key_missing"
    http_status = 401


class KeyRefused(RequestError):
    """The API key is unknown, revoked or expired; ask the operator of the service for another."""

    code = "key_refused"
    http_status = 401


class ScopeMissing(RequestError):
    """The API key does not allow this request; use a key with the scope that the answer names."""

    code = "scope_missing"
    http_status = 403

    def __init__(self, scope: str = "") -> None:
        """`scope` is the one that the key lacks."""
        super().__init__(f"the API key lacks the scope {scope}; use a key that has it" if scope else None)
        self.scope = scope
