"""How many messages one request to SQS carries."""

from collections.abc import Sequence
from typing import Any

__all__ = ["send_batches"]

# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
# (2026-11): ten entries, and 1 MiB in all.
_ENTRIES_MAX = 10
_BATCH_BYTES_MAX = 1024 * 1024


def send_batches(entries: Sequence[tuple[dict[str, Any], int]]) -> list[list[dict[str, Any]]]:
    """Return the parameters of messages in as few batches as keep their order.

    Args:
        entries: The parameters of each message, and its size.
    """
    batches: list[list[dict[str, Any]]] = []
    left_bytes = 0
    for parameters, size_bytes in entries:
        if not batches or len(batches[-1]) == _ENTRIES_MAX or size_bytes > left_bytes:
            batches.append([])
            left_bytes = _BATCH_BYTES_MAX
        batches[-1].append(parameters)
        left_bytes -= size_bytes
    return batches
