"""The session token of a role, a permission set or the environment reaches each request of a command."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from beholder.aws.s3 import profile_credentials
from beholder.deploy.account import Account

ROLE = "arn:aws:iam::123456789012:role/deployer-of-test-aws-sessions"
OF_ROLE = "of the role"
ENDS = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
ASSUMED = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>{OF_ROLE}</SessionToken><Expiration>{ENDS}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
ENDS_MS = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
GRANTED = (
    '{"roleCredentials": {"accessKeyId": "ASIASSO", "secretAccessKey": "s", '
    f'"sessionToken": "of the permission set", "expiration": {ENDS_MS}}}}}'
)
PROFILES = f"""
[profile role]
role_arn = {ROLE}
source_profile = person

[profile person]
aws_access_key_id = AKIAPERSON
aws_secret_access_key = s

[profile sso]
sso_start_url = https://of-test-aws-sessions.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Deployer
"""


class Answer(io.BytesIO):
    """The body of an answer, as urllib3 has it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The requests that were sent; STS and the portal of IAM Identity Center answer, others with nothing."""
    requests: list[Any] = []

    def send(_: URLLib3Session, request: Any) -> AWSResponse:
        requests.append(request)
        text = "<a/>"
        if "AssumeRole" in str(request.body):
            text = ASSUMED
        elif "portal.sso" in request.url:
            text = GRANTED
        elif "sqs" in request.url:
            text = "{}"
        return AWSResponse(request.url, 200, {}, Answer(text.encode()))

    monkeypatch.setattr(URLLib3Session, "send", send)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    config.write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return requests


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def tokens(requests: list[Any]) -> list[str]:
    return [text(one.headers.get("X-Amz-Security-Token", "")) for one in requests]


def call_three_services() -> None:
    account = Account("eu-west-1")
    account.call("ec2", "describe_regions")
    account.call("sqs", "list_queues")
    account.call("s3", "list_buckets")


def test_a_session_token_in_the_environment_reaches_each_request(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the environment")

    call_three_services()

    assert tokens(sent) == ["of the environment"] * 3
    assert all("Credential=ASIAENV/" in text(one.headers["Authorization"]) for one in sent)
    signed = [re.findall("SignedHeaders=([^,]*)", text(one.headers["Authorization"]))[0] for one in sent]
    assert all("x-amz-security-token" in one for one in signed)


def test_all_clients_of_a_command_share_a_role_that_is_assumed_once(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a role that asks for the code of an MFA device, the person is asked once."""
    monkeypatch.setenv("AWS_PROFILE", "role")

    call_three_services()
    # The client of the object store is none of boto3's.
    given = profile_credentials({"AWS_PROFILE": "role"})()

    assert given["token"] == OF_ROLE
    assumed, *others = sent
    assert f"RoleArn={ROLE.replace(':', '%3A').replace('/', '%2F')}" in text(assumed.body)
    assert "Credential=AKIAPERSON/" in text(assumed.headers["Authorization"])
    # There is no region but the command's.
    assert assumed.url.startswith("https://sts.eu-west-1.amazonaws.com/")
    assert tokens(others) == [OF_ROLE] * 3


def test_a_profile_of_iam_identity_center_asks_its_portal_once(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "sso")
    login = {"accessToken": "of aws sso login", "expiresAt": ENDS}
    monkeypatch.setattr("botocore.utils.SSOTokenLoader.__call__", lambda *_, **__: login)

    call_three_services()

    granted, *others = sent
    assert granted.url.startswith("https://portal.sso.eu-west-1.amazonaws.com/federation/credentials")
    assert tokens(others) == ["of the permission set"] * 3
