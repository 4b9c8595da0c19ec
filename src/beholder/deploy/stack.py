"""The outputs of a deployment's CloudFormation stack: where its queues and buckets are."""

from collections.abc import Mapping
from typing import Any

from beholder.errors import BackendThrottled, BackendUnavailable, BeholderError, ConfigError

__all__ = ["read_outputs"]

# Of botocore.exceptions, which are there only with the extra. The last is what boto3 says too where the
# metadata service does not answer.
_PASSING = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "CredentialRetrievalError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "MetadataRetrievalError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseStreamingError",
    "SSLError",
    "NoCredentialsError",
}
# There is no such stack, or the name is none. Source:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html (2026-11)
_NO_STACK = "ValidationError"
_SERVER_ERROR, _TOO_MANY = 500, 429


def read_outputs(stack: str, region: str) -> Mapping[str, str]:
    """Return a stack's outputs by their keys. Needs cloudformation:DescribeStacks on the stack.

    Args:
        stack: Its name or ARN.
        region: Where it is.

    Raises:
        ConfigError: There is no such stack, it may not be read, it has no outputs, or boto3 is missing.
        BackendThrottled: CloudFormation asks for fewer requests.
        BackendUnavailable: It does not answer, or there are no credentials for now.
    """
    try:
        import boto3  # noqa: PLC0415 -- an optional extra
        from botocore import exceptions as boto_errors  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError("--stack needs boto3; run: pip install boto3") from exc
    try:
        client: Any = boto3.Session(region_name=region).client("cloudformation")
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except boto_errors.ClientError as exc:
        raise _error_for(exc.response, f"stack {stack!r} in {region} cannot be read: {exc}") from exc
    except ResponseParserError as exc:
        raise BackendUnavailable("cloudformation", "describe", str(exc)) from exc
    except (boto_errors.BotoCoreError, ValueError) as exc:
        if type(exc).__name__ in _PASSING:
            raise BackendUnavailable("cloudformation", "describe", str(exc)) from exc
        raise ConfigError(f"stack {stack!r} in {region} cannot be read: {exc}") from exc
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    if not outputs:
        raise ConfigError(f"stack {stack!r} in {region} has no outputs; it is none of beholder, or not ready")
    return outputs


def _error_for(response: Mapping[str, Any], text: str) -> BeholderError:
    code = str(response.get("Error", {}).get("Code"))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if "Throttl" in code or code in {"RequestLimitExceeded", "SlowDown"} or status == _TOO_MANY:
        return BackendThrottled("cloudformation", "describe", text)
    if status >= _SERVER_ERROR:
        return BackendUnavailable("cloudformation", "describe", text)
    return ConfigError(text, may_pass=code != _NO_STACK)
