"""Messages in the form that SQS takes: text, or base64 with a mark; and batches of them."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ENCODING", "binary_bytes_max", "decoded", "encoded", "send_batches", "size_bytes_of"]

# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
# (2026-11): ten entries, and 1 MiB in all.
_ENTRIES_MAX = 10
_BATCH_BYTES_MAX = 1024 * 1024

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


def send_batches(entries: Sequence[tuple[dict[str, Any], int]]) -> list[list[dict[str, Any]]]:
    """Return the parameters of messages in as few batches as keep their order.

    Args:
        entries: The parameters of each message, and its size.
    """
    batches: list[list[dict[str, Any]]] = []
    room_bytes = 0
    for parameters, size_bytes in entries:
        if not batches or len(batches[-1]) == _ENTRIES_MAX or size_bytes > room_bytes:
            batches.append([])
            room_bytes = _BATCH_BYTES_MAX
        batches[-1].append(parameters)
        room_bytes -= size_bytes
    return batches
