"""What CloudFormation answers at a start: what passes is worth another try, the rest is not."""

from typing import Any

import pytest
from botocore import exceptions
from botocore import session as botocore

from beholder.deploy import read_outputs
from beholder.errors import BackendThrottled, BackendUnavailable, BeholderError, ConfigError


def refusal(code: str, status: int) -> Exception:
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = exceptions.ClientError(answer, "DescribeStacks")
    return error


CASES: list[tuple[Exception, type[BeholderError], bool]] = [
    (refusal("Throttling", 400), BackendThrottled, False),
    (refusal("ThrottlingException", 429), BackendThrottled, False),
    (refusal("InternalFailure", 500), BackendUnavailable, False),
    (refusal("ServiceUnavailable", 503), BackendUnavailable, False),
    (exceptions.EndpointConnectionError(endpoint_url="https://x"), BackendUnavailable, False),
    (exceptions.ConnectTimeoutError(endpoint_url="https://x"), BackendUnavailable, False),
    (exceptions.ReadTimeoutError(endpoint_url="https://x"), BackendUnavailable, False),
    (exceptions.NoCredentialsError(), BackendUnavailable, False),
    (exceptions.CredentialRetrievalError(provider="iam-role", error_msg="m"), BackendUnavailable, False),
    (exceptions.MetadataRetrievalError(error_msg="timed out"), BackendUnavailable, False),
    (refusal("AccessDenied", 403), ConfigError, True),
    (refusal("InvalidClientTokenId", 403), ConfigError, True),
    (refusal("ExpiredToken", 403), ConfigError, True),
    (refusal("ValidationError", 400), ConfigError, False),
    (exceptions.NoRegionError(), ConfigError, False),
    (exceptions.ProfileNotFound(profile="x"), ConfigError, False),
]


@pytest.mark.parametrize(("raised", "error", "may_pass"), CASES, ids=[repr(one[0])[:60] for one in CASES])
def test_an_error_of_cloudformation_says_who_must_act(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, error: type[BeholderError], *, may_pass: bool
) -> None:
    class Client:
        def describe_stacks(self, **_: Any) -> Any:
            raise raised

    monkeypatch.setattr(botocore.Session, "create_client", lambda *_args, **_more: Client())
    with pytest.raises(error) as found:
        read_outputs("zoo", "us-east-1")
    assert getattr(found.value, "may_pass", False) == may_pass
