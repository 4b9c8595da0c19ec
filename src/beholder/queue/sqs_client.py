"""The client of SQS: `AwsClient` with SQS's own error codes, and with batches that may fail in part.

botocore takes such a batch for a success, so this client sends again the entries that SQS could not take.
"""

import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from beholder.aws.client import AwsClient
from beholder.errors import BackendDenied, BackendError, BackendThrottled, QueueGone

__all__ = ["POLL_S_MAX", "SqsClient"]

_BACKEND = "sqs queue"
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
POLL_S_MAX = 20
_ENTRY_TRIES = 4
_ENTRY_PAUSE_S = 0.1
_CODES: dict[str, type[BackendError]] = {
    "OverLimit": BackendThrottled,  # too many messages are in flight already
    # The name in the JSON protocol, and the older name. No retry makes a queue, and a name is free again no
    # sooner than a minute after its queue was deleted.
    # Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html and
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html (2026-11)
    "NonExistentQueue": QueueGone,
    "QueueDoesNotExist": QueueGone,
}


class SqsClient(AwsClient):
    """A client of SQS, which many threads and queues may use at once.

    `call` raises `QueueGone`, a subclass of `BackendDenied`, if there is no such queue.

    Args:
        region: The region of the queues.
        endpoint: Another server that speaks SQS; None for AWS's, or the one that AWS_ENDPOINT_URL_SQS names.
        timeout_s: How long the server may be silent, beyond the wait of a long poll.
        attempts_max: Attempts at a call, the first included.

    Raises:
        ConfigError: boto3 cannot be used as the environment and its files have it.
    """

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        timeout_s: float = 5.0,
        attempts_max: int = 4,
    ) -> None:
        super().__init__(
            "sqs",
            backend=_BACKEND,
            region=region,
            endpoint=endpoint,
            timeout_s=timeout_s,
            poll_s_max=POLL_S_MAX,
            attempts_max=attempts_max,
            connections_max=100,
            codes=_CODES,
        )
        self._closing = threading.Event()

    def close(self) -> None:
        """Close the connections, and cut the pauses between attempts short."""
        self._closing.set()
        super().close()

    def batch(
        self, operation: str, action: str, url: str, entries: Sequence[Mapping[str, Any]]
    ) -> list[BackendError | None]:
        """Call a batch operation, and repeat it with the entries that SQS could not take.

        Args:
            operation: The verb of the port, for errors.
            action: boto3's method.
            url: The queue's.
            entries: 1 to 10, without their Id.

        Returns:
            For each entry None, or its error: `BackendDenied` if the entry itself is wrong.

        Raises:
            BackendError: The whole call failed; some entries may have been done.
        """
        outcomes: list[BackendError | None] = [None] * len(entries)
        left = list(range(len(entries)))
        for attempt in range(_ENTRY_TRIES):
            asked = [{"Id": str(index), **entries[index]} for index in left]
            if attempt:
                self._closing.wait(_ENTRY_PAUSE_S * 2**attempt * _jitter(asked[0]))
            try:
                answer = self.call(operation, action, QueueUrl=url, Entries=asked)
            except BackendError as exc:
                if not attempt:
                    raise
                for index in left:
                    outcomes[index] = exc
                break
            failed = {int(entry["Id"]): entry for entry in answer.get("Failed", [])}
            for index in left:
                outcomes[index] = self._failure(operation, failed[index]) if index in failed else None
            left = [index for index, entry in failed.items() if not entry["SenderFault"]]
            if not left:
                break
        return outcomes

    def _failure(self, operation: str, failed: Mapping[str, Any]) -> BackendError:
        code = str(failed.get("Code"))
        # The status of the whole answer is 200; the member SenderFault says what that of the entry would be.
        error = BackendDenied if failed["SenderFault"] else self.error_class(code, status=500)
        return error(_BACKEND, operation, f"{code}: {failed.get('Message')}")


def _jitter(entry: Mapping[str, Any]) -> float:
    """Return a number from 0 to 1; no two callers hold the same receipt or job."""
    return zlib.crc32(repr(entry)[:1000].encode()) / 2**32
