"""The AWS services of one account and region, as the commands that deploy and destroy call them."""

import threading
from collections.abc import Collection, Mapping
from typing import Any

from beholder.aws.client import AwsClient
from beholder.errors import ResourceNotFound

__all__ = ["Account"]

# How the services say that a resource does not exist; what stands before a dot, as in InvalidVolume.NotFound,
# does not count. Source: each service's API reference, the errors of its delete actions (2026-11)
_NOT_FOUND = (
    "NotFound",
    "Unavailable",  # InvalidAMIID.Unavailable: a deregistered image
    "NoSuchBucket",
    "NoSuchEntity",
    "NoSuchTagSet",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "LoadBalancerNotFound",
    "TargetGroupNotFound",
    "ResourceNotFoundException",
)
# CreateFleet, DeleteStack and the like answer slowly.
_TIMEOUT_S = 30.0


class Account:
    """Clients of the services of one account in one region, each made when it is first called.

    Args:
        region: The region of all calls; IAM and the listing of buckets answer for the whole account.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self._making = threading.Lock()
        self._clients: dict[str, AwsClient] = {}

    def call(
        self, service: str, action: str, *, expected: Collection[str] = (), **parameters: Any
    ) -> Mapping[str, Any]:
        """Call a service and return its answer; see `AwsClient.call`.

        Raises:
            ResourceNotFound: The call names a resource that does not exist.
            BackendError: As `AwsClient.call` has it.
            ConfigError: boto3 cannot be used as the environment and its files have it.
        """
        return self._client(service).call(action, action, expected=expected, **parameters)

    def pages(self, service: str, action: str, member: str, **parameters: Any) -> list[Any]:
        """Return the entries of a member of an answer, over all of its pages.

        Raises:
            BackendError: As `AwsClient.call` has it.
            ConfigError: boto3 cannot be used as the environment and its files have it.
        """
        pages = self._client(service).pages(action, action, **parameters)
        return [entry for page in pages for entry in page.get(member, [])]

    def _client(self, service: str) -> AwsClient:
        with self._making:
            if service not in self._clients:
                self._clients[service] = AwsClient(
                    service,
                    backend=service,
                    region=self.region,
                    timeout_s=_TIMEOUT_S,
                    codes=dict.fromkeys(_NOT_FOUND, ResourceNotFound),
                )
            return self._clients[service]
