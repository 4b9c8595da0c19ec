"""Events of S3, as S3 and its emulators send them."""

import json
from typing import Any
from urllib.parse import quote_plus

__all__ = ["TIME", "body", "record", "several"]

TIME = "2026-11-23T22:26:12.354Z"


def record(key: str, *, bucket: str, size: Any = 3, name: str = "ObjectCreated:Put", **more: Any) -> Any:
    """Return one record; `more` goes into the object."""
    if "encoded" not in more:
        more["encoded"] = quote_plus(key, safe="/")
    encoded = more.pop("encoded")
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": TIME,
        "eventName": name,
        "userIdentity": {"principalId": "AWS:EXAMPLE"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "drop",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": encoded, "size": size, "eTag": "e1", "sequencer": "0055AED6DCD90281E5"} | more,
        },
    }


def several(*records: Any) -> bytes:
    return json.dumps({"Records": list(records)}).encode()


def body(key: str, *, bucket: str, **more: Any) -> bytes:
    """Return the body of an event that tells of one object."""
    return several(record(key, bucket=bucket, **more))
