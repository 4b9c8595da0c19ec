"""Requests that a client of AWS signed, as botocore signs them, and requests that were changed afterwards."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import ManualClock
from beholder.store.memory import MemoryStore
from beholder.web.limits import WebLimits
from helpers.asgi import Answer
from helpers.web import Ask, ask, memory_ports

TARGET = "RekognitionService.DetectLabels"
BODY = json.dumps({"Image": {}}).encode()
# What a request is told that is let in: it holds no image.
LET_IN = ("InvalidParameterException", "no Image.Bytes")
STORE = MemoryStore()
SIGNER, BOTH, WRITER = (
    create_key(STORE, name="aws", scopes=scopes, now_s=0.0)
    for scopes in ([KeyScope.AWS], [KeyScope.AWS, KeyScope.WRITE], [KeyScope.WRITE])
)


def signed(body: bytes = BODY, credentials: tuple[str, str] = SIGNER.aws_credentials) -> dict[str, str]:
    """Return the headers of a request that is signed now."""
    headers = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1", "Host": "here"}
    request = AWSRequest("POST", "http://here/", data=body, headers=headers)
    SigV4Auth(Credentials(*credentials), "rekognition", "us-east-1").add_auth(request)
    return {name.lower().replace("-", "_"): value for name, value in request.headers.items()}


def send(headers: dict[str, str], body: bytes = BODY, *, path: str = "/", late_s: float = 0.0) -> Answer:
    clock = ManualClock(datetime.now(UTC).timestamp() + late_s)
    ports = memory_ports(keys=KnownKeys(STORE, clock), clock=clock, limits=WebLimits(wait_s_default=0.01))
    (answer,) = ask(ports, Ask("POST", path, body, headers))
    return answer


def said(answer: Answer, sentence: str) -> tuple[str, str]:
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-errortype"] == answer.json["__type"]
    return answer.json["__type"], sentence if sentence in answer.json["message"] else answer.json["message"]


def test_a_signed_request_is_let_in() -> None:
    assert said(send(signed()), LET_IN[1]) == LET_IN
    assert said(send(signed(credentials=BOTH.aws_credentials)), LET_IN[1]) == LET_IN


@pytest.mark.parametrize(("late_s", "is_in"), [(880, True), (-880, True), (920, False), (-920, False)])
def test_a_signature_holds_for_15_minutes(late_s: float, *, is_in: bool) -> None:
    expected = LET_IN if is_in else ("AccessDeniedException", "set the client's clock")
    assert said(send(signed(), late_s=late_s), expected[1]) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"host": "there"},
        {"x_amz_target": "RekognitionService.DetectFaces"},
        {"content_type": "application/json"},
        {"authorization": "AWS4-HMAC-SHA256 nonsense"},
        {"x_amz_date": "20260101T000000Z"},
        {"x_amz_date": "now"},
    ],
    ids=str,
)
def test_a_request_that_was_changed_is_refused(change: dict[str, str]) -> None:
    answer = send(signed() | change)
    if change == {"x_amz_target": "RekognitionService.DetectFaces"}:  # refused before its body is read
        assert said(answer, "no operation") == ("UnknownOperationException", "no operation")
    else:
        assert said(answer, "")[0] == "AccessDeniedException"


def test_another_body_is_refused_even_if_the_rest_is_as_signed() -> None:
    answer = send(signed(), BODY + b" ")
    assert said(answer, "not that of this request")[0] == "AccessDeniedException"
    assert answer.status == 401


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target"])
def test_what_names_the_request_must_be_signed(name: str) -> None:
    headers = signed()
    listed = headers["authorization"].replace(f"{name};", "").replace(f";{name}", "")
    assert said(send(headers | {"authorization": listed}), "cannot be read")[0] == "AccessDeniedException"


def test_a_query_is_not_signed_and_so_not_read() -> None:
    assert said(send(signed(), path="/?top_k=1"), "cannot be read")[0] == "AccessDeniedException"


def test_only_a_key_with_the_scope_may_sign() -> None:
    answer = send(signed(credentials=WRITER.aws_credentials))
    assert said(answer, "lacks the scope aws") == ("AccessDeniedException", "lacks the scope aws")
    assert answer.status == 403


def test_a_key_that_is_sent_as_it_is_needs_no_signature() -> None:
    headers = {"x_amz_target": TARGET, "x_api_key": WRITER.text}
    assert said(send(headers), LET_IN[1]) == LET_IN
    assert (
        said(send(headers | {"x_api_key": SIGNER.text}), "lacks the scope write")[0]
        == "AccessDeniedException"
    )
    assert said(send({"x_amz_target": TARGET}), "no API key")[0] == "AccessDeniedException"


@pytest.mark.parametrize("path", ["/v1/classify", "/upload", "/hf"])
def test_a_signature_opens_no_other_path(path: str) -> None:
    answer = send(signed(), path=path)
    assert answer.status == 401
    code: Any = answer.json.get("code") or answer.json["error_type"]
    assert code == "key_missing"
