"""What speaks to EC2: boto3's client, its calls counted, its errors sorted by who must act.

Retries of whole calls are botocore's (mode standard); each repeats the client token of the first, so that a
launch whose answer was lost on the way is still one launch.
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
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
)

__all__ = ["Ec2Client"]

_BACKEND = "ec2 fleet"
# MaxResults. Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html (2026)
_PAGE_INSTANCES = 1000
_CONNECT_S = 3.0
_METADATA = {"metadata_service_timeout": 3, "metadata_service_num_attempts": 3}
# Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (2026-11)
_THROTTLED = {
    "BandwidthLimitExceeded",
    "Client.RequestLimitExceeded",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
# Of EC2's side though the status may be 400: the same call may succeed in a moment.
_PASSING_CODES = {"IdempotentInstanceLaunchInProgress", "InternalError", "ServiceUnavailable", "Unavailable"}
_PASSING = (
    boto_errors.ConnectionError,
    boto_errors.HTTPClientError,
    boto_errors.IncompleteReadError,
    boto_errors.CredentialRetrievalError,
    boto_errors.MetadataRetrievalError,
    boto_errors.NoCredentialsError,  # what boto3 says too where the metadata service does not answer
    ResponseParserError,
)


class Ec2Client:
    """A client of EC2; safe to use from many threads at once."""

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        timeout_s: float = 30.0,
        attempts_max: int = 3,
    ) -> None:
        """Make the client; nothing is sent before the first call. Credentials come from boto3's chain.

        Args:
            region: Where the instances are.
            endpoint: Another server that speaks EC2; None for AWS's, or what AWS_ENDPOINT_URL_EC2 names.
            timeout_s: How long the server may be silent; an instant fleet answers after it has launched.
            attempts_max: Attempts at a call, the first included.

        Raises:
            ConfigError: boto3 cannot be used as the environment and its files have it.
        """
        try:
            self.boto: Any = _session(region).client(
                "ec2",
                endpoint_url=endpoint,
                config=Config(
                    connect_timeout=min(_CONNECT_S, timeout_s),
                    read_timeout=timeout_s,
                    retries={"mode": "standard", "total_max_attempts": attempts_max},
                    tcp_keepalive=True,
                ),
            )
        except (boto_errors.BotoCoreError, ValueError) as exc:
            raise ConfigError(f"the client of EC2 cannot be made: {exc}") from exc
        self._counting = threading.Lock()
        self._calls: Counter[str] = Counter()
        self.boto.meta.events.register("before-send.ec2", self._count)

    def close(self) -> None:
        """Close the connections."""
        self.boto.close()

    @property
    def calls(self) -> dict[str, int]:
        """Return how many requests of each of EC2's operations were sent, retries included."""
        with self._counting:
            return dict(self._calls)

    def call(
        self, operation: str, action: str, *, expected: Collection[str] = (), **parameters: Any
    ) -> Mapping[str, Any]:
        """Call EC2 and return its answer.

        Args:
            operation: The verb of the port, for errors.
            action: boto3's method, such as `create_fleet`.
            expected: Error codes that are part of the answer: one comes back as the only entry of `Errors`,
                in the form in which CreateFleet tells of instances that it could not launch.
            **parameters: Of the method.

        Raises:
            BackendThrottled: EC2 asked for fewer requests until the attempts were used up.
            BackendUnavailable: It could not be reached, or failed.
            BackendDenied: It refuses: permissions, credentials, a template or a parameter that it rejects.
        """
        try:
            answer: Mapping[str, Any] = getattr(self.boto, action)(**parameters)
        except boto_errors.ClientError as exc:
            error = exc.response.get("Error", {})
            code, text = str(error.get("Code")), str(error.get("Message"))
            if code in expected:
                return {"Errors": [{"ErrorCode": code, "ErrorMessage": text}]}
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise _class_of(code, status)(_BACKEND, operation, f"{code}: {text}") from exc
        except _PASSING as exc:
            raise BackendUnavailable(_BACKEND, operation, str(exc)) from exc
        except boto_errors.BotoCoreError as exc:  # such as half a set of credentials
            raise BackendDenied(_BACKEND, operation, str(exc)) from exc
        return answer

    def instances(self, operation: str, filters: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, Any]]:
        """Yield the instances that pass every filter, a thousand to a page; see `call` for its errors.

        Args:
            operation: The verb of the port, for errors.
            filters: By DescribeInstances' names, such as 'tag:Name', each with the values that pass.
        """
        asked: dict[str, Any] = {
            "Filters": [{"Name": name, "Values": list(values)} for name, values in filters.items()],
            "MaxResults": _PAGE_INSTANCES,
        }
        while True:
            page = self.call(operation, "describe_instances", **asked)
            for reservation in page.get("Reservations", []):
                yield from reservation.get("Instances", [])
            # EC2 ends with an empty token or with none.
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]

    def _count(self, event_name: str, **_: object) -> None:
        with self._counting:
            self._calls[event_name.rpartition(".")[2]] += 1


def _class_of(code: str, status: int) -> type[BackendError]:
    if code in _THROTTLED or status == 429:  # noqa: PLR2004 -- too many requests
        return BackendThrottled
    if code in _PASSING_CODES or status >= 500:  # noqa: PLR2004 -- the server's fault
        return BackendUnavailable
    return BackendDenied


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
