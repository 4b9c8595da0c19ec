"""Upload events, as S3 and its emulators send them."""

import json
from typing import Any
from urllib.parse import quote_plus

__all__ = ["TIME", "batch", "body", "by_sns", "eventbridge", "record"]

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


def batch(*records: Any) -> bytes:
    return json.dumps({"Records": list(records)}).encode()


def body(key: str, *, bucket: str, **more: Any) -> bytes:
    """Return the body of an event of one object."""
    return batch(record(key, bucket=bucket, **more))


def by_sns(event: Any) -> Any:
    """Return the notification in which SNS wraps an event, unless a subscription asks for it raw."""
    return {
        "Type": "Notification",
        "MessageId": "719a6bbf-f51b-5320-920f-3385b5e9aa56",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(event),
        "Timestamp": TIME,
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
    }


def eventbridge(key: str, *, bucket: str, size: Any = 3, sequencer: str | None = "0055AED6DCD90281E5") -> Any:
    """Return the event that EventBridge sends of one object; keys are not encoded here."""
    found = {"key": key, "size": size, "etag": "e1", "sequencer": sequencer}
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": TIME,
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {"version": "0", "bucket": {"name": bucket}, "object": found, "reason": "PutObject"},
    }
