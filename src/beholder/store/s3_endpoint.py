"""Where S3 is in a region's partition: China, the European sovereign cloud and others have their own names.

obstore knows `s3.<region>.amazonaws.com` alone; botocore's data knows all of them.
"""

import functools
import importlib.util
from urllib.parse import urlsplit

__all__ = ["endpoint_of"]

# In these obstore's own name is right.
_KNOWN_TO_OBSTORE = ("aws", "aws-us-gov")


def endpoint_of(region: str, bucket: str, *, in_host: bool) -> str | None:
    """Return a bucket's URL in another partition; None where obstore's own is right, or botocore missing.

    Args:
        region: Such as 'cn-north-1'.
        bucket: Its name.
        in_host: The bucket stands in the host's name, and not in the path.
    """
    host = _host_of(region) if importlib.util.find_spec("botocore") is not None else None
    if host is None:
        return None
    return f"https://{bucket}.{host}" if in_host else f"https://{host}"


@functools.cache
def _host_of(region: str) -> str | None:
    import botocore.session  # noqa: PLC0415 -- an optional extra
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import UnknownRegionError  # noqa: PLC0415

    session = botocore.session.Session()
    try:
        if session.get_partition_for_region(region) in _KNOWN_TO_OBSTORE:
            return None
    except UnknownRegionError:  # newer than botocore, so the name that most have
        return None
    client = session.create_client(
        "s3", region_name=region, config=Config(ignore_configured_endpoint_urls=True)
    )
    host = str(urlsplit(client.meta.endpoint_url).netloc)
    client.close()
    return host
