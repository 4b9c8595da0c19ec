"""The client of EC2: `AwsClient` with listings of instances, and with EC2's own error codes.

botocore's retries repeat the client token of the first attempt, so a launch whose answer is lost happens
once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beholder.aws.client import AwsClient
from beholder.errors import BackendUnavailable

__all__ = ["Ec2Client"]

# MaxResults. Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html (2026)
_PAGE_INSTANCES = 1000
# EC2 is at fault, though the status may be 400: the same call may succeed in a moment.
_PASSING = ("IdempotentInstanceLaunchInProgress", "InternalError", "ServiceUnavailable", "Unavailable")


class Ec2Client(AwsClient):
    """A client of EC2, which many threads may use at once.

    Args:
        region: The region of the instances.
        endpoint: Another server that speaks EC2; None for AWS's, or the one that AWS_ENDPOINT_URL_EC2 names.
        attempts_max: Attempts at a call, the first included.

    Raises:
        ConfigError: boto3 cannot be used as the environment and its files have it.
    """

    def __init__(
        self, *, region: str = "us-east-1", endpoint: str | None = None, attempts_max: int = 3
    ) -> None:
        super().__init__(
            "ec2",
            backend="ec2 fleet",
            region=region,
            endpoint=endpoint,
            timeout_s=30.0,  # an instant fleet answers after it has launched
            attempts_max=attempts_max,
            codes=dict.fromkeys(_PASSING, BackendUnavailable),
        )

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
            # On the last page the token is empty or missing.
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]
