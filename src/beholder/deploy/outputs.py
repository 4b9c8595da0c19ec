"""The outputs of a deployment's CloudFormation stack: where its queues and buckets are."""

from collections.abc import Mapping

from beholder.errors import BackendDenied, ConfigError

__all__ = ["read_outputs"]

# There is no such stack, or the name is none. Source:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html (2026-11)
_NO_STACK = "ValidationError"


def read_outputs(stack: str, region: str) -> Mapping[str, str]:
    """Return a stack's outputs by their keys. Needs cloudformation:DescribeStacks on the stack.

    Args:
        stack: Its name or ARN.
        region: Its region.

    Raises:
        ConfigError: There is no such stack, it may not be read, it has no outputs, or boto3 is missing.
        BackendThrottled: CloudFormation asks for fewer requests.
        BackendUnavailable: It does not answer, or there are no credentials for now.
    """
    try:
        from botocore.exceptions import ClientError  # noqa: PLC0415 -- an optional extra

        from beholder.aws.client import AwsClient  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError("--stack needs boto3; run: pip install boto3") from exc
    name = f"stack {stack!r} in {region}"
    client = AwsClient("cloudformation", backend="cloudformation", region=region)
    try:
        answer = client.call("describe", "describe_stacks", expected=[_NO_STACK], StackName=stack)
    except BackendDenied as exc:
        # A permission may still be on its way; settings that boto3 itself refuses are not.
        is_refused = isinstance(exc.__cause__, ClientError)
        raise ConfigError(f"{name} cannot be read: {exc.message}", may_pass=is_refused) from exc
    if errors := answer.get("Errors"):
        raise ConfigError(f"{name} cannot be read: {errors[0]['ErrorMessage']}")
    outputs = {one["OutputKey"]: one["OutputValue"] for one in answer["Stacks"][0].get("Outputs", [])}
    if not outputs:
        raise ConfigError(f"{name} has no outputs; it is none of beholder, or not ready")
    return outputs
