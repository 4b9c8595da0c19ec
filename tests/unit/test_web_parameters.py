"""What a request says beside its image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.errors import BadParameter, IdempotencyKeyInvalid, ModelNotFound, ParameterRepeated
from beholder.job import Options
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.routes.parameters import (
    CLASSIFY,
    RequestParameters,
    read_deadline_s,
    read_header,
    read_idempotency_key,
    read_options,
    read_prefer,
)

LIMITS = WebLimits(wait_s_default=60.0, wait_s_max=90.0, idempotency_key_chars_max=20)
MODELS = tuple(ServedModel(name, "1", "MIT", "", 4, "as-is", None) for name in ("first", "second"))


@pytest.mark.parametrize(
    ("headers", "wait_s", "applied"),
    [
        ([], 60.0, ""),
        ([""], 60.0, ""),
        (["respond-async"], 0.0, "respond-async"),
        (["Respond-Async"], 0.0, "respond-async"),
        (["respond-async, wait=10"], 0.0, "respond-async"),
        (["wait=10, respond-async"], 0.0, "respond-async"),
        (["wait=10", "respond-async"], 0.0, "respond-async"),
        (["wait=10"], 10.0, "wait=10"),
        (["WAIT=10"], 10.0, "wait=10"),
        (['wait="10"'], 10.0, "wait=10"),
        ([" wait = 10 ; x=y"], 10.0, "wait=10"),
        (["wait=0"], 0.0, "wait=0"),
        (["wait=9999"], 90.0, "wait=90"),
        (["wait=" + "9" * 5000], 90.0, "wait=90"),
        (["wait=10, wait=20"], 20.0, "wait=20"),
        (["wait=-1"], 60.0, ""),
        (["wait=1.5"], 60.0, ""),
        (["wait=soon"], 60.0, ""),
        (["wait="], 60.0, ""),
        (["wait"], 60.0, ""),
        (["wait=\u0661"], 60.0, ""),
        (["return=minimal, handling=lenient"], 60.0, ""),
        (["return=minimal, wait=5"], 5.0, "wait=5"),
        ([",,;,="], 60.0, ""),
    ],
)
def test_prefer_sets_how_long_a_request_waits(headers: list[str], wait_s: float, applied: str) -> None:
    prefer = read_prefer(headers, LIMITS)
    assert (prefer.wait_s, prefer.applied) == (wait_s, applied)


@given(headers=st.lists(st.text(), max_size=3))
def test_any_preference_is_a_wait_within_bounds(headers: list[str]) -> None:
    assert 0.0 <= read_prefer(headers, LIMITS).wait_s <= LIMITS.wait_s_max


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({}, Options()),
        ({"model": "", "top_k": "", "min_confidence": ""}, Options()),
        ({"model": "second"}, Options(model="second")),
        ({"top_k": "1"}, Options(top_k=1)),
        ({"top_k": "1000"}, Options(top_k=1000)),
        ({"top_k": "007"}, Options(top_k=7)),
        ({"min_confidence": "0"}, Options(min_confidence=0.0)),
        ({"min_confidence": "1"}, Options(min_confidence=1.0)),
        ({"min_confidence": ".5"}, Options(min_confidence=0.5)),
        ({"min_confidence": "1."}, Options(min_confidence=1.0)),
        ({"min_confidence": "1e-3"}, Options(min_confidence=0.001)),
        ({"colour": "red"}, Options()),
    ],
)
def test_options_are_read(values: dict[str, str], options: Options) -> None:
    assert read_options(values, MODELS, LIMITS) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", "0"),
        ("top_k", "1001"),
        ("top_k", "-1"),
        ("top_k", "+1"),
        ("top_k", "5.0"),
        ("top_k", "1e2"),
        ("top_k", " 5"),
        ("top_k", "all"),
        ("top_k", "\u0665"),
        ("top_k", "0" * 19 + "1" + "9" * 5),
        ("top_k", "0" * 19 + "1" + "9" * 5000),
        ("min_confidence", "-0.1"),
        ("min_confidence", "1.1"),
        ("min_confidence", "nan"),
        ("min_confidence", "inf"),
        ("min_confidence", "half"),
        ("min_confidence", "0_1"),
        ("min_confidence", " 0.5"),
        ("min_confidence", "1e400"),
        ("min_confidence", "."),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name: str, value: str) -> None:
    with pytest.raises(BadParameter, match=f"^{name} is ") as caught:
        read_options({name: value}, MODELS, LIMITS)
    assert len(caught.value.message) < 200


def test_an_unknown_model_is_refused_with_those_that_are_served() -> None:
    with pytest.raises(ModelNotFound, match="no model is named 'third'; served here: first, second"):
        read_options({"model": "third"}, MODELS, LIMITS)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30s", 30.0),
        ("30", 30.0),
        ("1.5m", 90.0),
        ("2 H", 7200.0),
        ("1000ms", 1.0),
        (" 5s ", 5.0),
        ("168h", 604_800.0),
    ],
)
def test_a_deadline_counts_from_now(header: str, seconds: float) -> None:
    assert read_deadline_s(header, 1000.0) == 1000.0 + seconds


def test_without_the_header_there_is_no_deadline() -> None:
    assert read_deadline_s(None, 1000.0) is None


@pytest.mark.parametrize(
    "header",
    ["", "0", "0.9s", "999ms", "-5s", "soon", "5 days", "nan", "1e9", "169h", "9" * 400, "5s 5s", "s"],
)
def test_what_is_no_duration_is_refused(header: str) -> None:
    with pytest.raises(BadParameter, match=r"^Cancel-After is ") as caught:
        read_deadline_s(header, 1000.0)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("abc", "abc"), (' "abc" ', "abc"), ("a b", "a b"), ("x" * 20, "x" * 20), ("é", "é")],
)
def test_an_idempotency_key_is_read(header: str | None, key: str | None) -> None:
    assert read_idempotency_key(header, LIMITS) == key


@pytest.mark.parametrize("header", ["", "  ", '""', "x" * 21, "a\tb", "a\x00b", "a\x85b"])
def test_an_idempotency_key_that_cannot_be_used_is_refused(header: str) -> None:
    with pytest.raises(IdempotencyKeyInvalid, match="1 to 20 printable characters"):
        read_idempotency_key(header, LIMITS)


def test_a_header_that_is_given_twice_is_refused() -> None:
    headers = Headers(raw=[(b"idempotency-key", b"a"), (b"cancel-after", b"5s"), (b"cancel-after", b"5s")])
    assert read_header(headers, "Idempotency-Key") == "a"
    assert read_header(headers, "Prefer") is None
    with pytest.raises(ParameterRepeated, match="Cancel-After is given more than once"):
        read_header(headers, "Cancel-After")


@pytest.mark.parametrize(
    ("query", "file_name"),
    [("", ""), ("file_name=a.jpg", "a.jpg"), ("file_name=%E7%8C%AB.jpg", "猫.jpg"), ("top_k=2", "")],
)
def test_the_query_may_name_the_file(query: str, file_name: str) -> None:
    request = Request({"type": "http", "headers": [], "query_string": query.encode()})
    assert RequestParameters.read(request, CLASSIFY, MODELS, LIMITS, 0.0).file_name == file_name
