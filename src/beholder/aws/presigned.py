"""Signs URLs by which others may put one object into a bucket of S3, without a request to AWS."""

import functools
import urllib.parse
from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from beholder.aws.session import new_session
from beholder.errors import BackendUnavailable

__all__ = ["PresignedPuts"]


class PresignedPuts:
    """Signs PUTs to one bucket; many threads may use it at once.

    The signature covers length, type and encryption, and that there is no such object yet, so a link stores
    one object of the announced length. It ends with the credentials that sign it, if these end before.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html and
    conditional-writes.html (2026-11)

    Args:
        bucket: Its name.
        region: Its region.
        encryption: What the object is encrypted by, `AES256` or `aws:kms`; None leaves it to the bucket.
        kms_key: ARN of the key for `aws:kms`; None for the account's own.
    """

    def __init__(
        self, bucket: str, *, region: str, encryption: str | None = None, kms_key: str | None = None
    ) -> None:
        self._bucket = bucket
        members = {"ServerSideEncryption": encryption, "SSEKMSKeyId": kms_key}
        self._encryption = {name: value for name, value in members.items() if value}
        self._region = region

    @functools.cached_property
    def _client(self) -> Any:
        """S3's client, made for the first link: most web processes are never asked for one."""
        config = Config(signature_version="s3v4", request_checksum_calculation="when_required")
        return new_session(self._region).create_client("s3", region_name=self._region, config=config)

    def sign(
        self, key: str, size_bytes: int, content_type: str, valid_s: float
    ) -> tuple[str, Mapping[str, str]]:
        """Return a URL, and the headers that its PUT must have.

        Args:
            key: The object's key.
            size_bytes: Its length.
            content_type: Its type.
            valid_s: How long the URL is good.

        Raises:
            BackendUnavailable: There are no credentials now.
        """
        sent = {"ContentLength": size_bytes, "ContentType": content_type, "IfNoneMatch": "*"}
        place = {"Bucket": self._bucket, "Key": key}
        try:
            url: str = self._client.generate_presigned_url(
                "put_object", Params=place | sent | self._encryption, ExpiresIn=round(valid_s)
            )
        except BotoCoreError as exc:
            raise BackendUnavailable("s3 store", "sign", str(exc)) from exc
        headers = {
            "content-type": content_type,
            "if-none-match": "*",
            "x-amz-server-side-encryption": self._encryption.get("ServerSideEncryption", ""),
            "x-amz-server-side-encryption-aws-kms-key-id": self._encryption.get("SSEKMSKeyId", ""),
        }
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        signed = query.get("X-Amz-SignedHeaders", [""])[0].split(";")
        return url, {name: headers[name] for name in signed if headers.get(name)}
