"""The records of API keys in the output bucket: one object for each key, without its secret.

A key is `bhk_`, its id and its secret. The secret has 256 random bits, so its digest does not reveal it, and
a fast hash is enough; a slow one protects passwords, which people choose.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from beholder.documents import Count, Time, from_document, to_document
from beholder.errors import BadParameter, ObjectNotFound
from beholder.store.keys import API_KEYS, api_key_key
from beholder.store.port import Store

__all__ = [
    "ApiKey",
    "KeyScope",
    "NewKey",
    "create_key",
    "list_keys",
    "parts_of",
    "read_record",
    "revoke_key",
]

_ID_BYTES, _SECRET_BYTES = 6, 32
# The prefix lets programs that search for leaked secrets find one.
_KEY = re.compile(rb"bhk_([0-9a-f]{12})_([0-9a-f]{64})")
_NAME_CHARS_MAX = 64


class KeyScope(StrEnum):
    """What a key allows; no scope includes another.

    `aws` lets a client of AWS send images with requests that it signs by SigV4. The secret that signs them is
    the digest of the key's secret, which the record has; so the records of these keys are as secret as the
    keys.
    """

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    AWS = "aws"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of an API key."""

    id: Annotated[str, "Names the key in lists and logs; also the second part of the key."]
    name: Annotated[str, "What its maker calls it."]
    scopes: Annotated[tuple[KeyScope, ...], "What it allows."]
    sha256: Annotated[str, "Digest of the secret."]
    created_at_s: Annotated[Time, "When it was made."]
    expires_at_s: Annotated[Time | None, "From when it is refused; null for never."] = None
    per_minute: Annotated[Count | None, "Requests that it may send in a minute; null for the setting's."] = (
        None
    )

    def matches(self, secret: bytes) -> bool:
        """Return whether this is the key's secret; takes the same time for every wrong one."""
        return hmac.compare_digest(hashlib.sha256(secret).hexdigest(), self.sha256)

    def is_expired(self, now_s: float) -> bool:
        """Return whether the key has expired."""
        return self.expires_at_s is not None and now_s >= self.expires_at_s


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; the only moment at which its text is known.

    Args:
        record: What is stored.
        text: What a client sends.
    """

    record: ApiKey
    text: str

    @property
    def aws_credentials(self) -> tuple[str, str]:
        """The access key id and the secret access key of a client of AWS; they need the scope `aws`."""
        return self.record.id, self.record.sha256


def create_key(
    store: Store,
    *,
    name: str,
    scopes: Iterable[KeyScope],
    now_s: float,
    expires_at_s: float | None = None,
    per_minute: int | None = None,
    token: Callable[[int], str] = secrets.token_hex,
) -> NewKey:
    """Make an API key, and store its record.

    Args:
        store: The output bucket.
        name: What its maker calls it; 1 to 64 printable characters.
        scopes: What it allows.
        now_s: The time, seconds since the Unix epoch.
        expires_at_s: From when it is refused; None for never.
        per_minute: Requests that it may send in a minute; None for what `requests_per_minute_max` says.
        token: Returns so many random bytes as hexadecimal text.

    Raises:
        BadParameter: The name is empty, too long or not printable.
    """
    if not name.isprintable() or not 1 <= len(name.strip()) <= _NAME_CHARS_MAX:
        raise BadParameter(f"a key's name has 1 to {_NAME_CHARS_MAX} printable characters")
    key_id, secret = token(_ID_BYTES), token(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    # In the order of the scopes' definition, and each once.
    ordered = tuple(scope for scope in KeyScope if scope in set(scopes))
    record = ApiKey(key_id, name.strip(), ordered, digest, now_s, expires_at_s, per_minute)
    store.put(api_key_key(key_id), json.dumps(to_document(record)).encode(), only_if_absent=True)
    return NewKey(record, f"bhk_{key_id}_{secret}")


def list_keys(store: Store) -> Iterator[ApiKey]:
    """Yield the records of all keys; one that is revoked meanwhile or cannot be read is left out.

    Args:
        store: The output bucket.
    """
    for info in store.list(API_KEYS):
        try:
            record = read_record(store.get(info.key))
        except ObjectNotFound:
            continue
        if record is not None:
            yield record


def revoke_key(store: Store, key_id: str) -> bool:
    """Delete the record of a key, which every web process then refuses; return whether there was one.

    Args:
        store: The output bucket.
        key_id: Its id.
    """
    if not re.fullmatch(r"[0-9a-f]{12}", key_id):
        return False
    try:
        store.head(api_key_key(key_id))
    except ObjectNotFound:
        return False
    store.delete(api_key_key(key_id))
    return True


def parts_of(text: bytes) -> tuple[str, bytes] | None:
    """Return the id and the secret of a key as a client sent it; None if it has not the form of a key."""
    found = _KEY.fullmatch(text)
    return (found[1].decode(), found[2]) if found else None


def read_record(data: bytes) -> ApiKey | None:
    """Return the record in an object's bytes; None if they hold none."""
    try:
        return from_document(ApiKey, json.loads(data))
    except (ValueError, TypeError, AttributeError):
        return None
