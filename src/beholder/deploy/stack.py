"""The outputs of a deployment's CloudFormation stack: where its queues and buckets are."""

from collections.abc import Mapping
from typing import Any

from beholder.errors import ConfigError

__all__ = ["read_outputs"]


def read_outputs(stack: str, region: str) -> Mapping[str, str]:
    """Return a stack's outputs by their keys. Needs cloudformation:DescribeStacks on the stack.

    Args:
        stack: Its name or ARN.
        region: Where it is.

    Raises:
        ConfigError: There is no such stack, it may not be read, it has no outputs, or boto3 is missing.
    """
    try:
        import boto3  # noqa: PLC0415 -- an optional extra
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError("--stack needs boto3; run: pip install boto3") from exc
    try:
        client: Any = boto3.Session(region_name=region).client("cloudformation")
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError) as exc:
        raise ConfigError(f"stack {stack!r} in {region} cannot be read: {exc}") from exc
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    if not outputs:
        raise ConfigError(f"stack {stack!r} in {region} has no outputs; it is none of beholder, or not ready")
    return outputs
