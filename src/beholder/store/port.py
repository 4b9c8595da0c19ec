"""The store port: what every room may ask of an object store. Its semantics are those of S3.

An object appears whole or not at all, a put of the same key replaces it, and a read after a put sees it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["FoundObject", "ObjectInfo", "Store"]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it.

    Args:
        key: Its key.
        size_bytes: Its length.
        stored_at_s: When it was last put, seconds since the Unix epoch.
        metadata: The texts that were put with it; empty in a listing.
    """

    key: str
    size_bytes: int
    stored_at_s: float
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object whose headers were read, and whose bytes were not.

    Args:
        size_bytes: Its length.
        read: Returns its bytes; raises `BackendError`.
    """

    size_bytes: int
    read: Callable[[], bytes]


class Store(Protocol):
    """One bucket; many threads may use it at once.

    Keys are relative paths with `/`, at most 1,024 bytes of UTF-8. Every method raises `BackendUnavailable`
    if the backend cannot be reached (the call may be repeated), and `BackendDenied` if it refuses.
    """

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> None:
        """Store an object, durable when this returns.

        Args:
            key: The object's key.
            data: The bytes; may be empty.
            metadata: Texts kept with it; names are lower-case ASCII letters, digits and hyphens.
            only_if_absent: Leave an object that is already there as it is, and raise.

        Raises:
            ObjectExists: `only_if_absent`, and the key is taken; of several such puts one wins.
            BackendFull: There is no room; nothing was half-written.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raises `ObjectNotFound`."""
        ...

    def head(self, key: str) -> ObjectInfo:
        """Return the facts of an object; raises `ObjectNotFound`."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; a key that holds none is ignored."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix` (ends with `/`, or is empty for all), by key.

        With `after`, a key under `prefix` without a further slash, only those behind it are yielded.
        Metadata is left out. An object put or deleted meanwhile may or may not be seen.
        """
        ...
