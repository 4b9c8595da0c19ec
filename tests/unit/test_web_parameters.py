"""What a request says beside its image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.errors import (
    BadParameter,
    IdempotencyKeyInvalid,
    LabelUnknown,
    ModelNotFound,
    ModelVersionNotFound,
    ParameterRepeated,
)
from beholder.job import Options
from beholder.web.labels import LabelIndex
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
from beholder.web.served_models import ServedModels

LIMITS = WebLimits(wait_s_default=60.0, wait_s_max=90.0, idempotency_key_chars_max=20)
MODELS = ServedModels(
    tuple(
        ServedModel(name, version, "MIT", "", 4, "as-is", None)
        for name, version in (("first", "1"), ("second", "2"), ("second", "1"))
    ),
    {
        "first@1": LabelIndex(("Egyptian cat", "crane", "crane", "7", "tabby", "TABBY", "a, b", "x  y")),
        "second@1": LabelIndex(("dog", "cat")),
    },
)


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
    ("written", "classes"),
    [
        ("tabby", (4,)),
        ("TABBY", (5,)),  # the very same letters come before others
        ("Tabby", (4, 5)),
        ("egyptian CAT", (0,)),
        (" Egyptian  cat ", (0,)),
        ("x y", (7,)),
        ("crane", (1, 2)),  # two classes of one name
        ("7", (3,)),  # the label, not the class of this number
        ("0", (0,)),
        ("2,0,2,crane", (0, 1, 2)),
        ("n02124075", (0,)),  # WordNet's Egyptian cat
        ('["a, b", 0, "tabby"]', (0, 4, 6)),
        ("[]", ()),
        ("", ()),
    ],
)
@pytest.mark.parametrize("name", ["include", "exclude"])
def test_a_filter_names_classes(name: str, written: str, classes: tuple[int, ...]) -> None:
    assert getattr(read_options({name: written}, MODELS, LIMITS), name) == classes


@pytest.mark.parametrize("name", ["include", "exclude"])
@pytest.mark.parametrize(
    "written", ["cot", "8", "-1", "n01440764", "n99999999", "tabby,cot", "a, b", '["7,7"]']
)
def test_a_label_that_the_model_does_not_have_is_named(name: str, written: str) -> None:
    with pytest.raises(LabelUnknown, match=f"^{name} has '.*', which is no label of first; give ") as caught:
        read_options({name: written}, MODELS, LIMITS)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (",", "has an empty entry"),
        ("tabby,,crane", "has an empty entry"),
        ('["tabby", " "]', "has an empty entry"),
        ('["tabby"', "begins like a list in JSON"),
        ("[" * 100_000, "begins like a list in JSON"),
        ("[true]", "is no list of labels"),
        ('[["tabby"]]', "is no list of labels"),
        ("0,1,2,3,4,5", "names more than 5 classes"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(written: str, problem: str) -> None:
    with pytest.raises(BadParameter, match=f"^include {problem}"):
        read_options({"include": written}, MODELS, WebLimits(filter_labels_max=5))


def test_a_filter_is_for_the_model_that_the_request_names() -> None:
    values = {"include": "dog", "exclude": "cat", "model": "second@1"}
    assert read_options(values, MODELS, LIMITS) == Options("second@1", include=(0,), exclude=(1,))
    with pytest.raises(LabelUnknown):
        read_options(values | {"model": "first"}, MODELS, LIMITS)


@pytest.mark.parametrize(
    ("asked", "reference"),
    [(None, "first@1"), ("first", "first@1"), ("second", "second@2"), ("second@1", "second@1")],
)
def test_a_request_names_a_model_with_its_version_or_without(asked: str | None, reference: str) -> None:
    assert MODELS.chosen(asked).reference == reference


@pytest.mark.parametrize("asked", ["first@2", "second@", "second@3"])
def test_an_unknown_version_is_refused_with_those_that_are_served(asked: str) -> None:
    with pytest.raises(ModelVersionNotFound, match=r"is served in version '.*', not in '"):
        read_options({"model": asked}, MODELS, LIMITS)


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
