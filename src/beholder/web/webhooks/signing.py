"""Signs webhooks, as receivers check them with the libraries of Standard Webhooks.

Source: Standard Webhooks specification, "Signature scheme" and "Symmetric" (read 2026-11): HMAC-SHA256 over
`id.timestamp.body`, secrets of 24 to 64 bytes in base64 behind `whsec_`, several signatures with spaces
between them.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from beholder.errors import ConfigError

__all__ = ["read_secrets", "signed_headers"]

_PREFIX = "whsec_"
_SECRET_BYTES_MIN, _SECRET_BYTES_MAX = 24, 64
_SECRETS_MAX = 4


def signed_headers(secrets: Sequence[bytes], webhook_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt, with a signature by each secret.

    Args:
        secrets: The secrets; a receiver that knows one of them accepts the delivery.
        webhook_id: The same for each attempt at a delivery.
        now_s: The time of the attempt, seconds since the Unix epoch.
        body: The body.
    """
    at = str(int(now_s))
    signed = b".".join((webhook_id.encode(), at.encode(), body))
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in digests),
    }


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Return the secrets in a file, one a line; empty lines and those that begin with # do not count.

    Raises:
        ConfigError: The file cannot be read, or has no secret, or a line is none. No message has a secret.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"webhook_secrets: {path} cannot be read: {why}") from exc
    secrets = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            secrets.append(_secret_of(text, f"webhook_secrets: line {number} of {path}"))
    if not 1 <= len(secrets) <= _SECRETS_MAX:
        raise ConfigError(f"webhook_secrets: {path} has {len(secrets)} secrets; write 1 to {_SECRETS_MAX}")
    return tuple(secrets)


def _secret_of(text: str, where: str) -> bytes:
    rule = f"write {_PREFIX} and {_SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX} random bytes in base64"
    try:
        if not text.startswith(_PREFIX):
            raise ConfigError(f"{where} does not begin with {_PREFIX}; {rule}")
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where} is no base64; {rule}") from None
    if not _SECRET_BYTES_MIN <= len(secret) <= _SECRET_BYTES_MAX:
        raise ConfigError(f"{where} has {len(secret)} bytes; {rule}")
    return secret
