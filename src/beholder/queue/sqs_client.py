"""What speaks to SQS: boto3's client, its calls counted, its errors sorted by who must act.

Retries of whole calls are botocore's (mode standard: with jitter, and a budget that ends a storm of them).
Entries of a batch that SQS could not take are sent again here, alone, because a batch that failed in part is
a success to botocore.
"""

import threading
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
import botocore.session
from botocore import exceptions as boto_errors
from botocore.config import Config
from botocore.parsers import ResponseParserError

from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendThrottled,
    BackendUnavailable,
    ConfigError,
    QueueGone,
)

__all__ = ["POLL_S_MAX", "SqsClient"]

_BACKEND = "sqs queue"
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
POLL_S_MAX = 20
_CONNECT_S = 3.0
_ENTRY_TRIES = 4
_METADATA = {"metadata_service_timeout": 3, "metadata_service_num_attempts": 3}
_ENTRY_PAUSE_S = 0.1

# OverLimit: too many messages are in flight already. RequestThrottled comes with status 403.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html (2026-11),
# and https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py, ThrottledRetryableChecker
_THROTTLED = {
    "BandwidthLimitExceeded",
    "KmsThrottled",
    "OverLimit",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
# The name in the JSON protocol, and the older one. No other operation's errors are named so.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueUrl.html (2026-11)
_GONE = {"NonExistentQueue", "QueueDoesNotExist"}
# A key of KMS that is disabled, or of which a policy is missing: the queue's trouble, and no message's.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html (2026-11)
_KEY_TROUBLE = "Kms"
# Connections, reads, answers that are no answers, and sources of credentials that fail for now.
_PASSING = (
    boto_errors.ConnectionError,
    boto_errors.HTTPClientError,
    boto_errors.IncompleteReadError,
    boto_errors.CredentialRetrievalError,
    boto_errors.MetadataRetrievalError,
    boto_errors.NoCredentialsError,  # what boto3 says too where the metadata service does not answer
    ResponseParserError,
)


class SqsClient:
    """A client of SQS; safe to use from many threads at once, and to share among queues."""

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        timeout_s: float = 5.0,
        attempts_max: int = 4,
        connections_max: int = 100,
    ) -> None:
        """Make the client; nothing is sent before the first call. Credentials come from boto3's chain.

        Args:
            region: Where the queues are.
            endpoint: Another server that speaks SQS; None for AWS's, or what AWS_ENDPOINT_URL_SQS names.
            timeout_s: How long the server may be silent; a long poll may be so for its wait besides.
            attempts_max: Attempts at a call, the first included.
            connections_max: Calls at the same time.

        Raises:
            ConfigError: boto3 cannot be used as the environment and its files have it.
        """

        def client(read_timeout_s: float) -> Any:
            return session.client(
                "sqs",
                endpoint_url=endpoint,
                config=Config(
                    connect_timeout=min(_CONNECT_S, timeout_s),
                    read_timeout=read_timeout_s,
                    retries={"mode": "standard", "total_max_attempts": attempts_max},
                    max_pool_connections=connections_max,
                    tcp_keepalive=True,
                ),
            )

        try:
            session = _session(region)
            self._quick = client(timeout_s)
            self._patient = client(POLL_S_MAX + timeout_s)
        except (boto_errors.BotoCoreError, ValueError) as exc:
            raise ConfigError(f"the client of SQS cannot be made: {exc}") from exc
        self._closing = threading.Event()
        self._counting = threading.Lock()
        self._calls: Counter[str] = Counter()
        for one in (self._quick, self._patient):
            one.meta.events.register("before-send.sqs", self._count)

    def close(self) -> None:
        """Close the connections, and cut the pauses between attempts short."""
        self._closing.set()
        for one in (self._quick, self._patient):
            one.close()

    @property
    def calls(self) -> dict[str, int]:
        """Return how many requests of each of SQS's operations were sent, retries included."""
        with self._counting:
            return dict(self._calls)

    def call(self, operation: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        """Call SQS and return its answer.

        A queue that does not exist is `QueueGone`, a kind of `BackendDenied`: no retry makes one, and a name
        is free again no sooner than a minute after its queue was deleted.
        Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html

        Args:
            operation: The verb of the port, for errors.
            action: boto3's method, such as `send_message_batch`.
            parameters: Its parameters.

        Raises:
            BackendThrottled: SQS asked for fewer requests until the attempts were used up.
            BackendUnavailable: It could not be reached, or failed.
            QueueGone: There is no such queue.
            BackendDenied: It refuses: permissions, credentials, clock.
        """
        client = self._patient if parameters.get("WaitTimeSeconds") else self._quick
        try:
            answer: Mapping[str, Any] = getattr(client, action)(**parameters)
        except boto_errors.ClientError as exc:
            error = exc.response.get("Error", {})
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            text = f"{error.get('Code')}: {error.get('Message')}"
            raise _class_of(str(error.get("Code")), status)(_BACKEND, operation, text) from exc
        except _PASSING as exc:
            raise BackendUnavailable(_BACKEND, operation, str(exc)) from exc
        except boto_errors.BotoCoreError as exc:  # such as half a set of credentials
            raise BackendDenied(_BACKEND, operation, str(exc)) from exc
        return answer

    def batch(
        self, operation: str, action: str, url: str, entries: Sequence[Mapping[str, Any]]
    ) -> list[BackendError | None]:
        """Call a batch operation, and once more with the entries that SQS could not take, and so on.

        Args:
            operation: The verb of the port, for errors.
            action: boto3's method.
            url: The queue's.
            entries: 1 to 10, without their Id.

        Returns:
            For each entry None, or what became of it; `BackendDenied` where the entry itself is wrong.

        Raises:
            BackendError: The whole call failed; some entries may have been done.
        """
        outcomes: list[BackendError | None] = [None] * len(entries)
        left = list(range(len(entries)))
        for attempt in range(_ENTRY_TRIES):
            asked = [{"Id": str(index), **entries[index]} for index in left]
            if attempt:
                self._closing.wait(_ENTRY_PAUSE_S * 2**attempt * _spread(asked[0]))
            try:
                answer = self.call(operation, action, QueueUrl=url, Entries=asked)
            except BackendError as exc:
                if not attempt:
                    raise
                for index in left:
                    outcomes[index] = exc
                break
            failed = {int(one["Id"]): one for one in answer.get("Failed", [])}
            for index in left:
                outcomes[index] = _failure_of(operation, failed[index]) if index in failed else None
            left = [index for index, one in failed.items() if not one["SenderFault"]]
            if not left:
                break
        return outcomes

    def _count(self, event_name: str, **_: object) -> None:
        with self._counting:
            self._calls[event_name.rpartition(".")[2]] += 1


def _spread(entry: Mapping[str, Any]) -> float:
    """Return a number from 0 to 1 for the jitter: no two callers hold the same receipt or job."""
    return zlib.crc32(repr(entry)[:1000].encode()) / 2**32


def _failure_of(operation: str, failed: Mapping[str, Any]) -> BackendError:
    code = str(failed.get("Code"))
    text = f"{code}: {failed.get('Message')}"
    if failed["SenderFault"]:
        return BackendDenied(_BACKEND, operation, text)
    return (BackendThrottled if code in _THROTTLED else BackendUnavailable)(_BACKEND, operation, text)


def _class_of(code: str, status: int) -> type[BackendError]:
    # Codes of the older protocol are `AWS.SimpleQueueService.OverLimit` and the like.
    short = code.rpartition(".")[2]
    if short in _THROTTLED or status == 429:  # noqa: PLR2004 -- too many requests
        return BackendThrottled
    if short in _GONE:
        return QueueGone
    if short.startswith(_KEY_TROUBLE):
        return BackendUnavailable
    return BackendUnavailable if status >= 500 else BackendDenied  # noqa: PLR2004 -- the server's fault


def _session(region: str) -> Any:
    """Return a session that asks instance metadata more than once: a busy instance may be slow to answer.

    botocore gives up after one second and one attempt, and then says that there are no credentials.
    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html (2026-11)
    """
    core = botocore.session.get_session()
    for name, wanted in _METADATA.items():
        if core.get_config_variable(name) == 1:  # what it is unless somebody set it
            core.set_config_variable(name, wanted)
    return boto3.Session(botocore_session=core, region_name=region)
