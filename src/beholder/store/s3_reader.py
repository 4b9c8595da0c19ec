"""Reads objects of other buckets on S3, whose keys and sizes are not ours; nothing is written there."""

import threading
from collections.abc import Mapping

from obstore.exceptions import BaseError
from obstore.store import S3Store as ObstoreS3

from beholder.aws.s3 import profile_credentials
from beholder.errors import BackendDenied, BackendError, ConfigError, ObjectNotFound
from beholder.store.port import FoundObject
from beholder.store.s3 import client_of, config_of, error_for, reason_of, retry_of

__all__ = ["S3Reader"]

_BACKEND = "s3 reader"
_RETRIES_MAX = 1


class S3Reader:
    """Reads objects by bucket, key and version; many threads may use it at once.

    Permissions: s3:GetObject on the objects, s3:GetObjectVersion if versions are named.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, Permissions (2026-11)

    Args:
        region: The region of the buckets.
        timeout_s: For one attempt at a request, data included.
        environ: Environment variables, for credentials and another endpoint.
    """

    def __init__(self, *, region: str, timeout_s: float, environ: Mapping[str, str]) -> None:
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

    def _bucket(self, name: str) -> ObstoreS3:
        with self._opening:
            if name not in self._buckets:
                endpoint = self._environ.get("AWS_ENDPOINT_URL_S3") or self._environ.get("AWS_ENDPOINT_URL")
                self._buckets[name] = ObstoreS3(
                    name,
                    config=config_of(name, self._region, endpoint, None, None),
                    client_options=client_of(endpoint, self._timeout_s),
                    retry_config=retry_of(_RETRIES_MAX),
                    credential_provider=profile_credentials(self._environ),
                )
            return self._buckets[name]


def _error_of(exc: BaseError | OSError | ValueError | ConfigError, bucket: str) -> BackendError:
    if isinstance(exc, (ValueError, ConfigError)):
        return BackendDenied(_BACKEND, "get", f"{bucket}: {exc}")
    error = ObjectNotFound if isinstance(exc, FileNotFoundError) else error_for(exc, "get")
    return error(_BACKEND, "get", f"{bucket}: {reason_of(exc)}")
