"""Messages in the form that SQS takes: text, or base64 with a mark."""

import base64
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["ENCODING", "binary_bytes_max", "decoded", "encoded", "size_bytes_of"]

ENCODING = "beholder-encoding"
"""The message attribute that says how a body was encoded; without it the body is plain UTF-8."""

_BASE64 = "base64"
_MARK = {ENCODING: {"DataType": "String", "StringValue": _BASE64}}
# SQS takes no empty body, and no base64 looks like this.
_EMPTY = "="
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html (2026-11)
_REFUSED = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def encoded(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return a message's text and its attributes."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not _REFUSED.search(text):
        return text, {}
    return base64.b64encode(body).decode() or _EMPTY, _MARK


def decoded(text: str, attributes: Mapping[str, Any]) -> bytes:
    """Return the bytes that `encoded` was given; a body that was marked wrongly is taken as text."""
    if attributes.get(ENCODING, {}).get("StringValue") != _BASE64:
        return text.encode()
    if text == _EMPTY:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def size_bytes_of(text: str, attributes: Mapping[str, Any]) -> int:
    """Return the size that SQS's limits count: a message's text and all of its attributes.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
    (2026-11)
    """
    of_attributes = sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"]) for name, value in attributes.items()
    )
    return len(text.encode()) + of_attributes


def binary_bytes_max(message_bytes_max: int) -> int:
    """Return how many bytes of any kind a message of so many bytes carries."""
    return (message_bytes_max - size_bytes_of("", _MARK)) // 4 * 3
