"""What S3 and the network may do to a call: a retry that succeeds, or the error that says why."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from aws.faulty import Fault, FaultyProxy, lost_reply, reset, s3_error, stall
from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendThrottled,
    BackendUnavailable,
    ObjectExists,
    ObjectNotFound,
)

pytestmark = pytest.mark.aws

_VERBS = {"put": "PUT", "get": "GET", "head": "HEAD", "delete": "DELETE", "list": "GET"}
_PASSING: dict[str, Fault] = {
    "500": s3_error(500, "InternalError"),
    "503": s3_error(503, "SlowDown"),
    "reset": reset,
    "lost reply": lost_reply,
    "time-out": stall(1.5),
}


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


@pytest.fixture
def proxy(aws: Emulator) -> Iterator[FaultyProxy]:
    with FaultyProxy(aws.endpoint) as proxy:
        yield proxy


@pytest.fixture
def open_store(aws: Emulator, proxy: FaultyProxy) -> Callable[..., Any]:
    from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where the emulator is

    def open_one(bucket: str = "", **settings: Any) -> S3Store:
        bucket = bucket or aws.make_bucket()
        settings = {"timeout_s": 1.0, "retries_max": 2, **settings}
        return S3Store(bucket, region=REGION, endpoint=proxy.endpoint, **settings)

    return open_one


def _do(store: Any, operation: str) -> object:
    arguments = {"put": ("k", b"new"), "list": ("",)}.get(operation, ("k",))
    answer = getattr(store, operation)(*arguments)
    return list(answer) if operation == "list" else answer


@pytest.mark.parametrize("fault", _PASSING)
@pytest.mark.parametrize("operation", _VERBS)
def test_a_passing_error_is_tried_again(
    open_store: Callable[..., Any], proxy: FaultyProxy, operation: str, fault: str
) -> None:
    store = open_store()
    store.put("k", b"old")
    proxy.inject(_VERBS[operation], _PASSING[fault], _PASSING[fault])
    _do(store, operation)
    assert proxy.is_spent
    if operation == "put":
        assert store.get("k") == b"new"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (s3_error(503, "SlowDown"), BackendThrottled),
        (s3_error(429, "TooManyRequestsException"), BackendThrottled),
        (s3_error(500, "InternalError"), BackendUnavailable),
        (reset, BackendUnavailable),
    ],
    ids=["slow down", "429", "500", "reset"],
)
@pytest.mark.parametrize("operation", _VERBS)
def test_a_lasting_error_is_told_apart(
    open_store: Callable[..., Any],
    proxy: FaultyProxy,
    operation: str,
    fault: Fault,
    error: type[BackendError],
) -> None:
    store = open_store()
    proxy.inject(_VERBS[operation], *[fault] * 3)
    with pytest.raises(error) as caught:
        _do(store, operation)
    assert caught.value.retryable
    assert proxy.is_spent


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (403, "RequestTimeTooSkewed"),
        (403, "SignatureDoesNotMatch"),
        (400, "ExpiredToken"),
        (400, "InvalidToken"),
        (301, "PermanentRedirect"),
        (401, "Unauthorized"),
    ],
)
@pytest.mark.parametrize("operation", _VERBS)
def test_a_refusal_is_not_tried_again(
    open_store: Callable[..., Any], proxy: FaultyProxy, operation: str, status: int, code: str
) -> None:
    store = open_store()
    before = len(proxy.seen)
    proxy.inject(_VERBS[operation], s3_error(status, code))
    with pytest.raises(BackendDenied):
        _do(store, operation)
    assert proxy.seen[before:] == [_VERBS[operation]]


@pytest.mark.parametrize(
    "code", ["KMS.DisabledException", "KMS.KMSInvalidStateException", "KMS.NotFoundException"]
)
@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_key_of_kms_that_cannot_be_used_is_the_bucket_s_trouble(
    open_store: Callable[..., Any], proxy: FaultyProxy, operation: str, code: str
) -> None:
    store = open_store()
    proxy.inject(_VERBS[operation], s3_error(400, code))
    with pytest.raises(BackendUnavailable):
        _do(store, operation)


@pytest.mark.parametrize("operation", _VERBS)
def test_a_missing_bucket_is_no_missing_object(open_store: Callable[..., Any], operation: str) -> None:
    with pytest.raises(BackendDenied):
        _do(open_store("no-such-bucket-anywhere"), operation)


def test_a_missing_object_is_asked_for_once_where_the_bucket_is_known(
    open_store: Callable[..., Any], proxy: FaultyProxy
) -> None:
    store = open_store()
    for _ in range(3):
        with pytest.raises(ObjectNotFound):
            store.head("missing")
    assert proxy.seen == ["HEAD", "GET", "HEAD", "HEAD"]


def test_our_own_put_whose_reply_was_lost_is_no_other_object(
    open_store: Callable[..., Any], proxy: FaultyProxy
) -> None:
    store = open_store()
    proxy.inject("PUT", lost_reply)
    store.put("k", b"ours", only_if_absent=True)
    assert proxy.is_spent
    assert dict(store.head("k").metadata) == {}
    assert store.calls["PutObject"] == 1


def test_another_object_is_found_though_an_attempt_failed(
    open_store: Callable[..., Any], proxy: FaultyProxy
) -> None:
    store = open_store()
    store.put("k", b"theirs", only_if_absent=True)
    proxy.inject("PUT", reset)
    with pytest.raises(ObjectExists):
        store.put("k", b"ours", only_if_absent=True)
    assert store.get("k") == b"theirs"


def test_a_put_that_met_a_deletion_is_tried_again(open_store: Callable[..., Any], proxy: FaultyProxy) -> None:
    store = open_store()
    conflict = s3_error(409, "ConditionalRequestConflict")
    proxy.inject("PUT", conflict, conflict)
    store.put("k", b"x", only_if_absent=True)
    assert store.get("k") == b"x"
    proxy.inject("PUT", *[conflict] * 4)
    with pytest.raises(BackendUnavailable):
        store.put("l", b"x", only_if_absent=True)


def test_nothing_listens() -> None:
    emulator("moto")  # skips where boto3 is missing, and sets credentials
    from beholder.store.s3 import S3Store  # noqa: PLC0415

    store = S3Store("bucket", endpoint="http://127.0.0.1:9", retries_max=1)
    with pytest.raises(BackendUnavailable):
        store.get("k")
