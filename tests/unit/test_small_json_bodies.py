"""Small JSON bodies: every path that takes one reads it alike, whatever a client sends."""

import json
import time

import pytest

from beholder.errors import ParameterRepeated
from beholder.web.limits import WebLimits
from beholder.web.submission.json_body import read_json
from helpers.asgi import Answer
from helpers.web import Ask, ask, memory_ports

SIBLINGS = {
    "/v1/uploads": ("POST", b'"bytes": 100', 201),
    "/v1/models/default": ("PUT", b'"model": "first"', 200),
}
GOOD = b"<good>"


def send(path: str, body: bytes, content_type: str = "application/json") -> Answer:
    method, good, _ = SIBLINGS[path]
    sent = body.replace(GOOD, good)
    (answer,) = ask(memory_ports(limits=WebLimits()), Ask(method, path, sent, {"content_type": content_type}))
    return answer


@pytest.mark.parametrize("path", SIBLINGS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "bad_parameter", id="empty"),
        pytest.param(b"{", "bad_parameter", id="cut off"),
        pytest.param(b'{<good>, "\xff": 1}', "bad_parameter", id="not UTF-8"),
        pytest.param(b"[" * 4_000, "bad_parameter", id="nested deeply"),
        pytest.param(b'{"a":' * 800, "bad_parameter", id="objects nested deeply"),
        pytest.param(b'{<good>, "more": NaN}', "bad_parameter", id="NaN"),
        pytest.param(b'{<good>, "more": -Infinity}', "bad_parameter", id="infinity"),
        pytest.param(b'{<good>, "more": ' + b"9" * 4_000 + b"}", "parameter_unknown", id="a long number"),
        pytest.param(b"{<good>, <good>}", "parameter_repeated", id="a member twice"),
        pytest.param(b'{<good>, "more": {"a": 1, "a": 1}}', "parameter_repeated", id="twice inside"),
        pytest.param(b"{<good>" + b" " * 4_096 + b"}", "bad_parameter", id="too long"),
        pytest.param(b"[{<good>}]", "bad_parameter", id="an array"),
        pytest.param(b"null", "bad_parameter", id="null"),
        pytest.param(b'{<good>, "more": 1}', "parameter_unknown", id="another member"),
        pytest.param(b'{<good>, "\\ud800": 1}', "parameter_unknown", id="half a character as a name"),
        pytest.param(b"{}", "bad_parameter", id="no member"),
    ],
)
def test_a_body_that_is_not_the_object_asked_for_is_refused_alike(path: str, body: bytes, code: str) -> None:
    answer = send(path, body)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert len(answer.json["detail"]) < 500


def test_a_repeated_member_is_found_in_one_pass() -> None:
    # given the last of 20,000 members twice, which took 10 s of the event loop when each was looked for
    members = ", ".join(f'"{number}": 0' for number in [*range(20_000), 19_999])
    started_s = time.thread_time()
    # when
    with pytest.raises(ParameterRepeated, match="'19999' is given more than once"):
        read_json(f"{{{members}}}".encode())
    # then
    assert time.thread_time() - started_s < 1


@pytest.mark.parametrize("path", SIBLINGS)
@pytest.mark.parametrize("content_type", ["text/plain", "image/jpeg", "", "application/json; charset=x"])
def test_the_content_type_is_not_read(path: str, content_type: str) -> None:
    assert send(path, b"{<good>}", content_type).status == SIBLINGS[path][2]


@pytest.mark.parametrize(
    ("path", "member"), [("/v1/models/default", "model"), ("/v1/uploads", "content_type")]
)
def test_half_a_character_in_a_value_is_an_error_of_the_caller(path: str, member: str) -> None:
    answer = send(
        path, json.dumps({"bytes": 100, member: "a\ud800"} if "up" in path else {member: "\ud800"}).encode()
    )
    assert 400 <= answer.status < 500
