"""The store on Amazon S3: one bucket, through obstore.

obstore signs, retries with jitter and finds credentials by itself, without Python's lock. This module
percent-encodes metadata, recognises its own put-if-absent if the reply is lost, and translates errors.
"""

import contextlib
import random
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store as ObstoreS3

from beholder.aws.s3 import endpoint_of, profile_credentials
from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendThrottled,
    BackendUnavailable,
    ObjectExists,
    ObjectNotFound,
)
from beholder.store.keys import check_key, check_prefix
from beholder.store.port import ObjectInfo

if TYPE_CHECKING:  # obstore's configuration is typed in its stubs only
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["S3Store", "client_of", "config_of", "error_for", "reason_of", "retry_of"]

_BACKEND = "s3 store"
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, MaxKeys (2026-11)
_PAGE_KEYS = 1000
_CONNECT_S = 3.0

# User-defined metadata is US-ASCII, and at most 2 KB of names and values together.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html (2026-11)
_METADATA_BYTES_MAX = 2048
_NAME = re.compile(r"[a-z0-9-]+")
# obstore sends these names as headers of their own, and not as metadata.
_STANDARD = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "storage-class",
}
_PUT_ID = "beholder-put-id"
# Blanks are encoded too: a header loses them at its ends, and a signature counts several as one.
_PLAIN = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"
_EMPTY = "%"  # what no text is encoded to; S3 does not say what becomes of an empty value

# obstore gives status and code of an answer only in its text.
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_REASON_CHARS = 200
_RETRIED = re.compile(r"after [1-9]\d* retries")
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (2026-11). All of them are 400
# or 409, which obstore does not retry; another try may succeed, because other requests are at fault.
_PASSING = {"RequestTimeout", "OperationAborted", "ConditionalRequestConflict"}
_CONFLICT = "ConditionalRequestConflict"
# The source of credentials fails, whatever its status: the metadata service, or boto3 in its place.
_CREDENTIALS = re.compile(
    r"performing \w+ \w+://[^/\s]+/latest/(api/token|meta-data/)|AWS credential provider"
)
# A key of KMS that is disabled or may not be used: as a rule, that concerns the whole bucket.
# Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html (2026-11)
_KEY_TROUBLE = re.compile(r"<Code>KMS|kms:(Decrypt|GenerateDataKey)")
_TIMED_OUT = "kind: Timeout"
# No further attempt begins later than this after the first.
_RETRY_S_MAX = 30.0
_TRIES = 4
_PAUSE_S = 0.1
_NO_VARIABLES: Mapping[str, str] = {}


class S3Store:
    """A bucket on S3; see the `Store` port for its methods.

    Permissions: s3:GetObject, s3:PutObject and s3:DeleteObject on the objects, s3:ListBucket on the bucket.
    Without s3:ListBucket S3 answers 403 for an object that is missing, which is then `BackendDenied`.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, Permissions (2026-11)

    Metadata values are percent-encoded wherever they are not printable ASCII, so that other tools read
    `a%20b.jpg` for `a b.jpg`; values that other tools wrote are decoded likewise.

    Other tools may put keys that the port does not allow. A key with empty parts or dots stops a listing that
    meets it with `BackendDenied`; such tools need a prefix of their own.

    Every method may also raise `BackendThrottled`: S3 still asked for fewer requests after the retries.

    Credentials are found as AWS's tools find them, and renewed: environment, web identity, container,
    instance role by IMDSv2; a profile or a shared file needs boto3. Nothing is sent before the first call.

    Args:
        bucket: Its name.
        region: Its region.
        endpoint: Another server that speaks S3; None for that of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL in
            `environ`, or else AWS's own.
        encryption: By S3's own keys, or by KMS; None leaves it to the bucket, which encrypts in any case.
            Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-encryption-faq.html
        kms_key: ARN of the key for `aws:kms`; None for the account's own.
        timeout_s: For one attempt at a request, data included.
        retries_max: Further attempts at a request that failed by the server's or the network's fault.
        environ: Environment variables for what obstore does not read itself: profile, files, endpoint.

    Raises:
        ConfigError: AWS_PROFILE is set, and boto3 is not installed or knows no such profile.
    """

    def __init__(
        self,
        bucket: str,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        encryption: Literal["AES256", "aws:kms"] | None = None,
        kms_key: str | None = None,
        timeout_s: float = 30.0,
        retries_max: int = 4,
        environ: Mapping[str, str] = _NO_VARIABLES,
    ) -> None:
        endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        self._bucket = bucket
        self._files = ObstoreS3(
            bucket,
            config=config_of(bucket, region, endpoint, encryption, kms_key),
            client_options=client_of(endpoint, timeout_s),
            retry_config=retry_of(retries_max),
            credential_provider=profile_credentials(environ),
        )
        self._counting = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._is_bucket_seen = False
        self._never = threading.Event()  # waiting for it is a pause

    @property
    def calls(self) -> dict[str, int]:
        """How often each of S3's operations was called, retries not counted."""
        with self._counting:
            return dict(self._calls)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> None:
        """Store an object; see `Store.put`.

        Raises:
            ValueError: `metadata` has names that S3 or HTTP keeps for itself, or is longer than 2 KB encoded.
            ObjectExists: `only_if_absent`, and the key is taken.
        """
        check_key(key)
        attributes = _attributes_of(metadata or {})
        with self._calling("PutObject", "put", key):
            if only_if_absent:
                self._create(key, data, attributes)
            else:
                self._files.put(key, data, attributes=attributes, use_multipart=False)

    def get(self, key: str) -> bytes:
        """Return an object's bytes; see `Store.get`."""
        check_key(key)
        with self._calling("GetObject", "get", key):
            return bytes(self._files.get(key).bytes())

    def head(self, key: str) -> ObjectInfo:
        """Return the facts of an object; see `Store.head`."""
        check_key(key)
        try:
            with self._calling("HeadObject", "head", key):
                found = self._files.get(key, options={"head": True})
        except ObjectNotFound:
            if not self._is_bucket_seen:
                # This raises: only an answer with a body tells whether the bucket or the object is missing.
                self.get(key)
            raise
        meta = found.meta
        return ObjectInfo(
            key, meta["size"], meta["last_modified"].timestamp(), _metadata_of(found.attributes)
        )

    def delete(self, key: str) -> None:
        """Remove an object; see `Store.delete`."""
        check_key(key)
        with self._calling("DeleteObject", "delete", key):
            for tries_left in reversed(range(_TRIES)):
                try:
                    self._files.delete(key)
                except BaseError as exc:
                    # obstore does not repeat these, though a second deletion does no harm.
                    if _TIMED_OUT not in str(exc) or not tries_left:
                        raise
                else:
                    return

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix` by key, without metadata; see `Store.list`."""
        check_prefix(prefix)
        return self._walk(prefix, after)

    def _walk(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        pages = iter(self._files.list(prefix or None, offset=after or None, chunk_size=_PAGE_KEYS))
        count = 0
        while True:
            with self._calling("ListObjectsV2", "list", prefix):
                page = next(pages, None)
            if page is None:
                if count:  # S3 was not called: the page before was marked as the last
                    with self._counting:
                        self._calls["ListObjectsV2"] -= 1
                return
            count += 1
            for entry in page:
                yield ObjectInfo(entry["path"], entry["size"], entry["last_modified"].timestamp())

    def _create(self, key: str, data: bytes, attributes: dict[str, str]) -> None:
        """Put an object unless the key is taken, with a mark that names this put."""
        put_id = secrets.token_hex(8)
        for attempt in range(_TRIES):
            try:
                marked = {**attributes, _PUT_ID: put_id}
                self._files.put(key, data, attributes=marked, mode="create", use_multipart=False)
            except AlreadyExistsError as exc:
                # The object was deleted meanwhile: S3 asks to try again, and obstore says that it exists.
                # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html (2026-11)
                if _CONFLICT in str(exc) and attempt < _TRIES - 1:
                    self._never.wait(random.uniform(0, _PAUSE_S * 2**attempt))
                    continue
                if not (_RETRIED.search(str(exc)) and self._put_id_of(key) == put_id):
                    raise
            return

    def _put_id_of(self, key: str) -> str | None:
        """Return the mark of the object that a put found: an earlier attempt may have stored it."""
        with self._counting:
            self._calls["HeadObject"] += 1
        try:
            return self._files.get(key, options={"head": True}).attributes.get(_PUT_ID)
        except FileNotFoundError:  # deleted meanwhile
            return None

    @contextlib.contextmanager
    def _calling(self, call: str, operation: str, key: str) -> Iterator[None]:
        with self._counting:
            self._calls[call] += 1
        try:
            yield
        except (BaseError, OSError) as exc:
            error = error_for(exc, operation)
            if error is ObjectExists or (error is ObjectNotFound and operation == "get"):
                self._is_bucket_seen = True
            raise error(_BACKEND, operation, f"{self._bucket}/{key}: {reason_of(exc)}") from exc
        self._is_bucket_seen = True


def config_of(
    bucket: str, region: str, endpoint: str | None, encryption: str | None, kms_key: str | None
) -> "S3Config":
    """Return obstore's configuration of a bucket."""
    # A DELETE for each object, instead of a batch.
    config: S3Config = {"region": region, "disable_bulk_delete": True}
    # The bucket stands in the host's name if it can: AWS advises against paths, and a dot breaks the
    # certificate.
    # Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html (2026-11)
    in_host = endpoint is None and "." not in bucket
    config["virtual_hosted_style_request"] = in_host
    if endpoint := endpoint or endpoint_of(region, bucket, in_host=in_host):
        config["aws_endpoint_url_s3"] = endpoint
    if encryption:
        config["server_side_encryption"] = encryption
    if kms_key:
        config["sse_kms_key_id"] = kms_key
    return config


def client_of(endpoint: str | None, timeout_s: float) -> "ClientConfig":
    """Return obstore's configuration of connections."""
    return {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, timeout_s)),
        "timeout": timedelta(seconds=timeout_s),
    }


def retry_of(retries_max: int) -> "RetryConfig":
    """Return how often obstore repeats a request that failed by no fault of ours."""
    return {
        "max_retries": retries_max,
        "retry_timeout": timedelta(seconds=_RETRY_S_MAX),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5)},
    }


def reason_of(exc: BaseError | OSError) -> str:
    """Return the short reason in obstore's text: S3's own code, or the first line without the URL."""
    text = str(exc)
    if found := _CODE.search(text):
        return found[1]
    first_line = text.partition("\n")[0]
    return first_line if len(first_line) <= _REASON_CHARS else first_line[:_REASON_CHARS] + "…"


def error_for(exc: BaseError | OSError, operation: str) -> type[BackendError]:
    """Return the class of our error that an error of obstore is."""
    text = str(exc)
    code = found[1] if (found := _CODE.search(text)) else ""
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    first_line = text.partition("\n")[0]
    if code in _PASSING or _KEY_TROUBLE.search(text) or _CREDENTIALS.search(first_line):
        return BackendUnavailable
    if isinstance(exc, FileNotFoundError):
        # A put or delete never misses an object, so the bucket is missing.
        is_object = operation in {"get", "head"} and code != "NoSuchBucket"
        return ObjectNotFound if is_object else BackendDenied
    if isinstance(exc, AlreadyExistsError):
        return ObjectExists
    if status in {429, 503}:
        return BackendThrottled
    if isinstance(exc, (PermissionDeniedError, UnauthenticatedError)):
        return BackendDenied
    # Of the rest of 4xx, expired credentials are 400; a redirect means another region than the settings say;
    # and a key with empty parts or dots, which another tool put there, stops a listing until it is removed.
    is_misconfigured = "redirect" in first_line or "invalid path" in first_line
    is_refused = 300 <= status < 500  # noqa: PLR2004 -- HTTP's ranges
    return BackendDenied if is_misconfigured or is_refused else BackendUnavailable


def _attributes_of(metadata: Mapping[str, str]) -> dict[str, str]:
    for name in metadata:
        if not _NAME.fullmatch(name) or name in _STANDARD or name == _PUT_ID:
            raise ValueError(
                f"metadata name {name!r} is reserved, or not lower-case letters, digits, hyphens"
            )
    encoded = {name: quote(value, safe=_PLAIN) or _EMPTY for name, value in metadata.items()}
    size_bytes = sum(len(name) + len(value) for name, value in encoded.items())
    if size_bytes > _METADATA_BYTES_MAX - len(_PUT_ID) - 16:
        raise ValueError(f"metadata takes {size_bytes} bytes encoded, and S3 keeps {_METADATA_BYTES_MAX}")
    return encoded


def _metadata_of(attributes: Mapping[str, str]) -> dict[str, str]:
    return {
        name: "" if value == _EMPTY else unquote(value)
        for name, value in attributes.items()
        if name.lower() not in _STANDARD and name != _PUT_ID
    }
