"""Requests to S3 besides the bytes: encryption, metadata, credentials, and their number."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from aws.emulators import CREDENTIALS, EMULATORS, REGION, Emulator, emulator
from aws.faulty import FaultyProxy
from beholder.errors import BackendDenied, ConfigError

pytestmark = pytest.mark.aws


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


@pytest.fixture
def proxy(aws: Emulator) -> Iterator[FaultyProxy]:
    with FaultyProxy(aws.endpoint) as proxy:
        yield proxy


def _store(bucket: str, **settings: Any) -> Any:
    from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where the emulator is

    return S3Store(bucket, region=REGION, **settings)


# --- encryption ---------------------------------------------------------------------------------------------


_KEY = "arn:aws:kms:us-east-1:123456789012:key/k"


@pytest.mark.parametrize("how", ["put", "create"])
@pytest.mark.parametrize(
    ("settings", "algorithm"),
    [
        ({}, None),
        ({"encryption": "AES256"}, "AES256"),
        ({"encryption": "aws:kms"}, "aws:kms"),
        ({"encryption": "aws:kms", "kms_key": _KEY}, "aws:kms"),
    ],
)
def test_objects_are_encrypted_unless_it_is_left_to_the_bucket(
    aws: Emulator, proxy: FaultyProxy, settings: dict[str, Any], algorithm: str | None, how: str
) -> None:
    if algorithm == "aws:kms":
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
        aws.unlike_aws(
            "ministack", "refuses aws:kms; AWS takes it, with a key of the account where none is named"
        )
    bucket = aws.make_bucket()
    store = _store(bucket, endpoint=proxy.endpoint, **settings)
    store.put("k", b"x", only_if_absent=how == "create")
    assert proxy.headers.get("x-amz-server-side-encryption") == algorithm
    key = proxy.headers.get("x-amz-server-side-encryption-aws-kms-key-id")
    assert key == settings.get("kms_key")
    if algorithm:
        assert aws.client("s3").head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == algorithm


# --- metadata -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        "%",
        "100%",
        "%25",
        "a%20b",
        " köln  ☃ ",
        "a\nb\tc\0",
        "😀",
        "!\"#$&'()*+,/:;<=>?@[\\]^`{|}~",
        "é" * 300,
    ],
)
def test_any_text_is_kept_as_metadata(aws: Emulator, value: str) -> None:
    store = _store(aws.make_bucket(), endpoint=aws.endpoint)
    store.put("k", b"x", metadata={"m": value})
    assert dict(store.head("k").metadata) == {"m": value}


def test_other_tools_read_plain_text_as_it_is(aws: Emulator) -> None:
    bucket = aws.make_bucket()
    store = _store(bucket, endpoint=aws.endpoint)
    order = json.dumps({"name": "a.jpg", "top_k": 5}, separators=(",", ":"))
    store.put("k", b"x", metadata={"order": order}, only_if_absent=True)
    metadata = aws.client("s3").head_object(Bucket=bucket, Key="k")["Metadata"]
    assert metadata["order"] == order
    aws.client("s3").put_object(Bucket=bucket, Key="l", Body=b"x", Metadata={"theirs": "100% plain"})
    assert dict(store.head("l").metadata) == {"theirs": "100% plain"}


@pytest.mark.parametrize(
    "metadata", [{"content-type": "x"}, {"Upper": "x"}, {"beholder-put-id": "x"}, {"m": "x" * 2048}]
)
def test_metadata_that_s3_would_not_keep_is_refused(aws: Emulator, metadata: dict[str, str]) -> None:
    store = _store(aws.make_bucket(), endpoint=aws.endpoint)
    with pytest.raises(ValueError, match="metadata"):
        store.put("k", b"x", metadata=metadata)


# --- requests -----------------------------------------------------------------------------------------------


def test_calls_are_counted_by_operation(aws: Emulator, proxy: FaultyProxy) -> None:
    store = _store(aws.make_bucket(), endpoint=proxy.endpoint)
    store.put("k", b"x" * 6_000_000)
    store.put("l", b"x", only_if_absent=True)
    store.get("k")
    store.head("k")
    store.delete("k")
    assert store.calls == {"PutObject": 2, "GetObject": 1, "HeadObject": 1, "DeleteObject": 1}
    assert proxy.seen == ["PUT", "PUT", "GET", "HEAD", "DELETE"]


def test_a_long_listing_comes_in_pages(aws: Emulator) -> None:
    bucket = aws.make_bucket()
    store = _store(bucket, endpoint=aws.endpoint)
    for number in range(1001):
        store.put(f"{number:04}", b"")
    assert [info.key for info in store.list("")] == [f"{number:04}" for number in range(1001)]


@pytest.mark.parametrize("key", ["theirs/./x", "theirs//x"])
def test_a_key_of_another_tool_harms_no_other_folder(aws: Emulator, key: str) -> None:
    bucket = aws.make_bucket()
    store = _store(bucket, endpoint=aws.endpoint)
    store.put("ours/a", b"x")
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [info.key for info in store.list("ours/")] == ["ours/a"]
    with pytest.raises(BackendDenied, match="invalid path"):
        list(store.list(""))


# --- credentials --------------------------------------------------------------------------------------------


class _Imds(BaseHTTPRequestHandler):
    """An instance's metadata, version 2 only."""

    key = "of-the-session"
    role = "worker-role"
    document = json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": "FROM-IMDS",
            "SecretAccessKey": "secret",
            "Token": "session",
            "LastUpdated": "2026-11-22T00:00:00Z",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    )

    def do_PUT(self) -> None:
        self._answer(200 if self.headers.get("X-aws-ec2-metadata-token-ttl-seconds") else 400, self.key)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != self.key:
            self._answer(401, "")
        elif self.path.rstrip("/").endswith(self.role):
            self._answer(200, self.document)
        else:
            self._answer(200, self.role)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")] + [*CREDENTIALS]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_an_instance_s_role_is_found_by_imdsv2(
    aws: Emulator, proxy: FaultyProxy, no_keys: pytest.MonkeyPatch
) -> None:
    bucket = aws.make_bucket()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Imds) as imds:
        Thread(target=imds.serve_forever, args=(0.02,), daemon=True).start()
        no_keys.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{imds.server_port}")
        _store(bucket, endpoint=proxy.endpoint).put("k", b"x")
        imds.shutdown()
    assert "Credential=FROM-IMDS/" in proxy.headers["authorization"]
    assert proxy.headers["x-amz-security-token"] == "session"


def test_a_profile_is_read_from_the_shared_files(
    aws: Emulator, proxy: FaultyProxy, no_keys: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = aws.make_bucket()
    file = tmp_path / "credentials"
    keys = "aws_access_key_id = FROM-PROFILE\naws_secret_access_key = x\n"
    file.write_text(f"[team]\n{keys}", encoding="utf-8")
    no_keys.setenv("AWS_PROFILE", "team")
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    no_keys.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    _store(bucket, endpoint=proxy.endpoint, environ=os.environ).put("k", b"x")
    assert "Credential=FROM-PROFILE/" in proxy.headers["authorization"]
    no_keys.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        _store(bucket, endpoint=proxy.endpoint, environ=os.environ)


def test_the_environment_may_name_the_endpoint(aws: Emulator, proxy: FaultyProxy) -> None:
    bucket = aws.make_bucket()
    _store(bucket, environ={**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint}).put("k", b"x")
    assert proxy.seen == ["PUT"]
