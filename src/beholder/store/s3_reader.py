"""Reads objects of other buckets on S3, whose keys and sizes are not ours; nothing is written there."""

import threading
from collections.abc import Iterator, Mapping

from obstore.exceptions import BaseError
from obstore.store import S3Store as ObstoreS3

from beholder.aws.s3 import profile_credentials
from beholder.errors import BackendDenied, BackendError, ConfigError, ObjectNotFound
from beholder.store.port import FoundObject
from beholder.store.s3 import client_of, config_of, error_for, reason_of, retry_of

__all__ = ["S3Reader"]

_BACKEND = "s3 reader"
# Of a large object in one request, which ends within the timeout also on a slow line.
_PIECE_BYTES = 8_000_000


class S3Reader:
    """Reads objects by bucket, key and version; many threads may use it at once.

    Permissions: s3:GetObject on the objects, s3:GetObjectVersion if versions are named.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, Permissions (2026-11)

    Args:
        region: The region of the buckets.
        timeout_s: For one attempt at a request, data included.
        retries_max: Further attempts at a request that failed by the server's or the network's fault.
        environ: Environment variables, for credentials and another endpoint.
    """

    def __init__(
        self, *, region: str, timeout_s: float, environ: Mapping[str, str], retries_max: int = 1
    ) -> None:
        self._retries_max = retries_max
        self._region = region
        self._timeout_s = timeout_s
        self._environ = environ
        self._buckets: dict[str, ObstoreS3] = {}
        self._opening = threading.Lock()

    def open(self, bucket: str, key: str, version: str | None) -> FoundObject:
        """Return an object's size, and how to read it.

        Raises:
            ObjectNotFound: There is no such object, bucket or version.
            BackendDenied: S3 refuses the request.
            BackendError: S3 does not answer, or asks for fewer requests.
        """
        try:
            options = {"version": version} if version else {}
            found = self._bucket(bucket).get(key, options=options)  # type: ignore[arg-type]
        except (BaseError, OSError, ValueError, ConfigError) as exc:
            raise _error_of(exc, bucket) from exc

        def read() -> bytes:
            try:
                return bytes(found.bytes())
            except (BaseError, OSError) as exc:
                raise _error_of(exc, bucket) from exc

        return FoundObject(found.meta["size"], read)

    def pieces(self, bucket: str, key: str) -> Iterator[bytes]:
        """Yield an object's bytes in pieces, each read by a request of its own.

        Raises:
            ObjectNotFound: There is no such object or bucket.
            BackendDenied: S3 refuses the request.
            BackendError: S3 does not answer, or asks for fewer requests.
        """
        found = self.open(bucket, key, None)
        if found.size_bytes <= _PIECE_BYTES:
            yield found.read()
            return
        for start in range(0, found.size_bytes, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, found.size_bytes)
            try:
                yield bytes(self._bucket(bucket).get_range(key, start=start, end=end))
            except (BaseError, OSError, ValueError) as exc:
                raise _error_of(exc, bucket) from exc

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """Return what keys have behind `prefix` up to and with the next slash, sorted.

        Permissions: s3:ListBucket on the bucket.

        Args:
            bucket: Its name.
            prefix: Ends with a slash, or is empty.

        Raises:
            BackendDenied: S3 refuses the request, or there is no such bucket.
            BackendError: S3 does not answer, or asks for fewer requests.
        """
        try:
            found = self._bucket(bucket).list_with_delimiter(prefix or None)
        except (BaseError, OSError, ValueError, ConfigError) as exc:
            raise _error_of(exc, bucket, "list") from exc
        return sorted(f"{path.removeprefix(prefix).strip('/')}/" for path in found["common_prefixes"])

    def _bucket(self, name: str) -> ObstoreS3:
        with self._opening:
            if name not in self._buckets:
                endpoint = self._environ.get("AWS_ENDPOINT_URL_S3") or self._environ.get("AWS_ENDPOINT_URL")
                self._buckets[name] = ObstoreS3(
                    name,
                    config=config_of(name, self._region, endpoint, None, None),
                    client_options=client_of(endpoint, self._timeout_s),
                    retry_config=retry_of(self._retries_max),
                    credential_provider=profile_credentials(self._environ),
                )
            return self._buckets[name]


def _error_of(
    exc: BaseError | OSError | ValueError | ConfigError, bucket: str, operation: str = "get"
) -> BackendError:
    if isinstance(exc, (ValueError, ConfigError)):
        return BackendDenied(_BACKEND, operation, f"{bucket}: {exc}")
    is_missing = isinstance(exc, FileNotFoundError) and operation == "get"
    error = ObjectNotFound if is_missing else error_for(exc, operation)
    return error(_BACKEND, operation, f"{bucket}: {reason_of(exc)}")
