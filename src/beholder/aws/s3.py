"""What boto3 knows of S3 and obstore does not: hosts outside the main partitions, and profiles.

obstore speaks to S3 by itself. Without boto3 it uses its own knowledge, which suffices for most deployments.
"""

import functools
import importlib.util
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from beholder.errors import ConfigError

__all__ = ["endpoint_of", "profile_credentials"]

# In these partitions obstore's own name, `s3.<region>.amazonaws.com`, is right. China, the European sovereign
# cloud and others have names of their own, which botocore's data holds.
_KNOWN_TO_OBSTORE = ("aws", "aws-us-gov")


def endpoint_of(region: str, bucket: str, *, in_host: bool) -> str | None:
    """Return a bucket's URL in another partition; None if obstore's own is right, or boto3 is missing.

    Args:
        region: Such as 'cn-north-1'.
        bucket: The bucket's name.
        in_host: Whether the bucket stands in the host's name, and not in the path.
    """
    host = _host_of(region) if _has_boto3() else None
    if host is None:
        return None
    return f"https://{bucket}.{host}" if in_host else f"https://{host}"


def profile_credentials(environ: Mapping[str, str]) -> Any:
    """Return a provider of the credentials of a profile or a shared file; None if obstore finds its own.

    obstore reads no files of AWS's tools. Keys in the environment and web identities come first, as in AWS's
    own libraries.
    Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html (2026-11)

    Args:
        environ: Environment variables.

    Raises:
        ConfigError: AWS_PROFILE is set, and boto3 is not installed or knows no such profile.
    """
    if any(environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")):
        return None
    profile = environ.get("AWS_PROFILE")
    if profile and not _has_boto3():
        raise ConfigError("AWS_PROFILE needs boto3; run: pip install boto3")
    home = Path(environ.get("HOME", "/")) / ".aws"
    files = (
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials"),
        Path(environ.get("AWS_CONFIG_FILE") or home / "config"),
    )
    if not _has_boto3() or not (profile or any(file.is_file() for file in files)):
        return None
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 -- an optional extra
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

    from beholder.aws.session import new_session  # noqa: PLC0415 -- imports botocore

    try:
        # botocore renews credentials with less than ten minutes left, so what it gives lasts at least nine.
        # Source: https://github.com/boto/botocore/blob/develop/botocore/credentials.py (2026-11)
        return Boto3CredentialProvider(new_session(), ttl=timedelta(minutes=9))
    except (BotoCoreError, ValueError) as exc:
        if profile:
            raise ConfigError(f"AWS_PROFILE is {profile!r}: {exc}") from exc
        return None  # the files hold other settings, and the machine may have a role


def _has_boto3() -> bool:
    return importlib.util.find_spec("boto3") is not None


@functools.cache
def _host_of(region: str) -> str | None:
    import botocore.session  # noqa: PLC0415 -- an optional extra
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import UnknownRegionError  # noqa: PLC0415

    session = botocore.session.Session()
    try:
        if session.get_partition_for_region(region) in _KNOWN_TO_OBSTORE:
            return None
    except UnknownRegionError:  # newer than botocore, so its host probably has the usual name
        return None
    client = session.create_client(
        "s3", region_name=region, config=Config(ignore_configured_endpoint_urls=True)
    )
    host = str(urlsplit(client.meta.endpoint_url).netloc)
    client.close()
    return host
