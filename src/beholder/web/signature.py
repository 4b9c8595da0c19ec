"""Signatures of AWS requests (SigV4) as a server checks them.

The signature is a MAC, so a server that can check it holds the secret; here that is the digest in the record
of an API key (ADR 28).

Source: AWS, "Create a signed AWS API request" (2026-11).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.types import Scope

__all__ = ["Signature", "is_signed", "read_signature"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rb"AWS4-HMAC-SHA256 +Credential=([\w-]{1,128})/(\d{8})/([\w-]{1,64})/([\w-]{1,64})/aws4_request, *"
    rb"SignedHeaders=([a-z0-9;-]{1,1024}), *Signature=([0-9a-f]{64})"
)
# Without these, a signature would say nothing of the operation, of the receiver, or of when it was made.
_SIGNED_MIN = {"host", "x-amz-date", "x-amz-target"}
_SKEW_S_MAX = 900.0


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of a request, and what it signs except for the body.

    Args:
        key_id: The access key id.
        signed_at_s: When the client signed, by its clock, seconds since the Unix epoch.
        scope: Day, region and service that the signing key is for.
        stamp: The time as the client wrote it.
        head: The canonical request without the digest of its body.
        digest: The signature.
    """

    key_id: str
    signed_at_s: float
    scope: tuple[str, str, str]
    stamp: str
    head: str
    digest: str

    def is_recent(self, now_s: float) -> bool:
        """Return whether the request was signed within 15 minutes of now, as AWS asks for."""
        return abs(now_s - self.signed_at_s) <= _SKEW_S_MAX

    def matches(self, secret: str, body_sha256: str) -> bool:
        """Return whether a client that has the secret access key signed this body."""
        request_digest = hashlib.sha256(f"{self.head}\n{body_sha256}".encode("latin-1")).hexdigest()
        credential_scope = "/".join((*self.scope, "aws4_request"))
        to_sign = f"{_ALGORITHM}\n{self.stamp}\n{credential_scope}\n{request_digest}"
        key = f"AWS4{secret}".encode()
        for part in (*self.scope, "aws4_request", to_sign):
            key = hmac.digest(key, part.encode("latin-1"), "sha256")
        return hmac.compare_digest(key.hex(), self.digest)


def is_signed(scope: Scope) -> bool:
    """Return whether a request has a signature of AWS, whether it can be checked or not."""
    return any(name == b"authorization" and value.startswith(b"AWS4-") for name, value in scope["headers"])


def read_signature(scope: Scope) -> Signature | None:
    """Return the signature of a request; None if it has none that can be checked."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        text = " ".join(value.decode("latin-1").split())
        known = headers.get(name.decode("latin-1"))
        headers[name.decode("latin-1")] = text if known is None else f"{known},{text}"
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", "").encode("latin-1"))
    stamp = headers.get("x-amz-date", "")
    signed_at_s = _seconds(stamp)
    if found is None or signed_at_s is None or scope["query_string"]:
        return None
    key_id, day, region, service, listed, digest = (part.decode() for part in found.groups())
    names = listed.split(";")
    if not _SIGNED_MIN <= set(names) <= headers.keys() or day != stamp[:8]:
        return None
    head = _head(scope["method"], scope["path"], ((name, headers[name]) for name in names), listed)
    return Signature(key_id, signed_at_s, (day, region, service), stamp, head, digest)


def _head(method: str, path: str, headers: Iterable[tuple[str, str]], listed: str) -> str:
    lines = "".join(f"{name}:{value}\n" for name, value in headers)
    return f"{method}\n{path}\n\n{lines}\n{listed}"


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
