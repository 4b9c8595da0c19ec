"""A client of one AWS service: boto3's, with its calls counted and its errors translated.

botocore retries calls (mode standard: with jitter, and with a budget that ends a storm of retries).
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import botocore.session
from botocore import exceptions as boto_errors
from botocore.config import Config
from botocore.parsers import ResponseParserError

from beholder.aws.session import new_session
from beholder.errors import BackendDenied, BackendError, BackendThrottled, BackendUnavailable, ConfigError

__all__ = ["AwsClient", "profile_region"]

_CONNECT_S = 3.0
_METADATA = {"metadata_service_timeout": 3, "metadata_service_num_attempts": 3}
_NO_CODES: Mapping[str, type[BackendError]] = {}

# RequestThrottled comes with status 403.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html,
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (2026-11), and
# https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py, ThrottledRetryableChecker
_THROTTLED = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KmsThrottled",
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
# The code begins so if a key of KMS is disabled or may not be used: no message or object is at fault.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html (2026-11)
_KEY_TROUBLE = "Kms"
_NO_CREDENTIALS = "no credentials were found; run aws configure or aws sso login, or set AWS_PROFILE"
# Connections, reads, malformed answers, and sources of credentials that fail for now.
_PASSING = (
    boto_errors.ConnectionError,
    boto_errors.HTTPClientError,
    boto_errors.IncompleteReadError,
    boto_errors.CredentialRetrievalError,
    boto_errors.MetadataRetrievalError,
    ResponseParserError,
)


def profile_region() -> str | None:
    """Return the region of the profile in the files of AWS's tools that boto3 would use, if it has one."""
    return cast("str | None", botocore.session.get_session().get_config_variable("region"))


class AwsClient:
    """A client of one service, which many threads may use at once.

    Args:
        service: boto3's name of the service, such as 'sqs'. Credentials come from boto3's chain.
        backend: The service's name in errors, such as 'sqs queue'.
        region: The region that is called.
        endpoint: Another server that speaks the protocol; None for AWS's, or the one that AWS_ENDPOINT_URL_*
            names.
        timeout_s: How long the server may be silent.
        poll_s_max: How much longer it may be silent in a long poll.
        attempts_max: Attempts at a call, the first included.
        connections_max: Calls at the same time.
        codes: Errors of the service's own codes, beside those that all services share.

    Raises:
        ConfigError: boto3 cannot be used as the environment and its files have it.
    """

    def __init__(
        self,
        service: str,
        *,
        backend: str,
        region: str,
        endpoint: str | None = None,
        timeout_s: float = 5.0,
        poll_s_max: float = 0.0,
        attempts_max: int = 4,
        connections_max: int = 10,
        codes: Mapping[str, type[BackendError]] = _NO_CODES,
    ) -> None:
        self._backend = backend
        self._codes = codes
        self._counting = threading.Lock()
        self._calls: Counter[str] = Counter()

        def client(read_timeout_s: float) -> Any:
            return session.create_client(
                service,
                region_name=region,
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
            session.register(f"before-send.{service}", self._count)
            self.boto = client(timeout_s)
            self._poller = client(timeout_s + poll_s_max) if poll_s_max else self.boto
        except (boto_errors.BotoCoreError, ValueError) as exc:
            raise ConfigError(f"boto3 cannot make a client of {service}: {exc}") from exc

    def close(self) -> None:
        """Close the connections."""
        self.boto.close()
        self._poller.close()

    @property
    def calls(self) -> dict[str, int]:
        """How many requests of each operation were sent, retries included."""
        with self._counting:
            return dict(self._calls)

    def call(
        self, operation: str, action: str, *, expected: Collection[str] = (), **parameters: Any
    ) -> Mapping[str, Any]:
        """Call the service and return its answer.

        Args:
            operation: The verb of the port, for errors.
            action: boto3's method, such as `send_message_batch`.
            expected: Error codes that are part of the answer: such an error becomes the only entry of
                `Errors`, in the form that CreateFleet uses for instances that it could not launch.
            parameters: Of the method.

        Raises:
            BackendThrottled: The service asked for fewer requests until the attempts were used up.
            BackendUnavailable: It could not be reached, or failed.
            BackendDenied: It refuses: permissions, credentials, clock, or a parameter that it rejects.
            BackendError: One of `codes`.
        """
        client = self._poller if parameters.get("WaitTimeSeconds") else self.boto
        with self._sorted_errors(operation):
            try:
                answer: Mapping[str, Any] = getattr(client, action)(**parameters)
            except boto_errors.ClientError as exc:
                code, text = _error_of(exc)
                if code in expected:
                    return {"Errors": [{"ErrorCode": code, "ErrorMessage": text}]}
                raise
        return answer

    def pages(self, operation: str, action: str, **parameters: Any) -> list[Mapping[str, Any]]:
        """Return all pages of an answer; one page if the service gives it whole.

        Raises:
            BackendError: As `call` has it.
        """
        if not self.boto.can_paginate(action):
            return [self.call(operation, action, **parameters)]
        with self._sorted_errors(operation):
            return list(self.boto.get_paginator(action).paginate(**parameters))

    @contextmanager
    def _sorted_errors(self, operation: str) -> Iterator[None]:
        try:
            yield
        except boto_errors.ClientError as exc:
            code, text = _error_of(exc)
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise self.error_class(code, status)(self._backend, operation, f"{code}: {text}") from exc
        except boto_errors.NoCredentialsError as exc:  # also if the metadata service does not answer
            raise BackendUnavailable(self._backend, operation, _NO_CREDENTIALS) from exc
        except _PASSING as exc:
            raise BackendUnavailable(self._backend, operation, str(exc)) from exc
        except boto_errors.BotoCoreError as exc:  # such as half a set of credentials
            raise BackendDenied(self._backend, operation, str(exc)) from exc

    def error_class(self, code: str, status: int) -> type[BackendError]:
        """Return the class of an error by its code and its HTTP status."""
        # Some codes have a prefix, as in `AWS.SimpleQueueService.OverLimit`.
        short = code.rpartition(".")[2]
        if short in self._codes:
            return self._codes[short]
        if short in _THROTTLED or status == 429:  # noqa: PLR2004 -- too many requests
            return BackendThrottled
        if short.startswith(_KEY_TROUBLE) or status >= 500:  # noqa: PLR2004 -- the server's fault
            return BackendUnavailable
        return BackendDenied

    def _count(self, event_name: str, **_: object) -> None:
        with self._counting:
            self._calls[event_name.rpartition(".")[2]] += 1


def _error_of(exc: boto_errors.ClientError) -> tuple[str, str]:
    error = exc.response.get("Error", {})
    return str(error.get("Code")), str(error.get("Message"))


def _session(region: str) -> Any:
    """Return a session that asks instance metadata more than once: a busy instance may be slow to answer.

    botocore gives up after one second and one attempt, and then says that there are no credentials.
    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html (2026-11)
    """
    session = new_session(region)
    for name, value in _METADATA.items():
        if session.get_config_variable(name) == 1:  # the default, so it is not set
            session.set_config_variable(name, value)
    return session
