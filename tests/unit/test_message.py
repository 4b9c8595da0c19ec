"""The message on the input queue is read back as it was written; any other body is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.job import JobInput, Message, MessageInvalid, Options, new_job_id

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
TIMES = st.floats(0, 1e11)
MESSAGES = st.builds(
    Message,
    job_id=TIMES.map(new_job_id),
    created_at_s=TIMES,
    input=st.builds(
        JobInput,
        TEXT,
        TEXT,
        st.integers(0, 10**12),
        st.builds(
            Options, model=st.none() | TEXT, top_k=st.integers(1, 1000), min_confidence=st.floats(0, 1)
        ),
    ),
    reply_to=st.none() | TEXT,
    deadline_s=st.none() | TIMES,
    wants_text=st.booleans(),
    image=st.none() | st.binary(max_size=100),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    message = Message(new_job_id(1.0), 1.0, JobInput("images/x/a.jpg", "a.jpg", 3), image=b"abc")
    found: dict[str, Any] = json.loads(message.to_bytes())
    return found


@given(message=MESSAGES)
def test_a_message_is_read_back(message: Message) -> None:
    assert Message.from_bytes(message.to_bytes()) == message


def test_the_version_comes_first_and_the_image_only_if_there_is_one(document: dict[str, Any]) -> None:
    assert next(iter(document)) == "v"
    assert document["image"] == "YWJj"
    plain = Message(new_job_id(1.0), 1.0, JobInput("k", "n", 1))
    assert b"image" not in plain.to_bytes()


def test_a_file_s_name_stays_readable_on_the_wire() -> None:
    message = Message(new_job_id(1.0), 1.0, JobInput("k", "猫.jpg", 1))
    assert "猫.jpg".encode() in message.to_bytes()


def test_another_version_is_refused_by_name(document: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid, match="message version 2 is not 1"):
        Message.from_bytes(json.dumps(document | {"v": 2}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"job": "../../x"},
        {"job": "none"},
        {"job": 5},
        {"at": "now"},
        {"at": -1},
        {"at": float("nan")},
        {"at": 1e300},
        {"key": None},
        {"name": 5},
        {"name": "\ud800"},
        {"bytes": "3"},
        {"model": []},
        {"top_k": None},
        {"top_k": 5.0},
        {"min": "0"},
        {"min": float("inf")},
        {"reply": 1},
        {"deadline": "later"},
        {"deadline": float("inf")},
        {"text": 0},
        {"image": "no base64!"},
        {"image": 5},
    ],
    ids=str,
)
def test_a_member_of_the_wrong_type_is_refused(document: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid, match="not a message"):
        Message.from_bytes(json.dumps(document | change).encode())


@pytest.mark.parametrize("member", ["v", "job", "at", "key", "name", "bytes", "top_k", "deadline", "text"])
def test_a_missing_member_is_refused(document: dict[str, Any], member: str) -> None:
    rest = {name: value for name, value in document.items() if name != member}
    with pytest.raises(MessageInvalid):
        Message.from_bytes(json.dumps(rest).encode())


def test_a_member_of_a_later_version_is_ignored(document: dict[str, Any]) -> None:
    assert Message.from_bytes(json.dumps(document | {"colour": "red"}).encode()).image == b"abc"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, b'{"v":[]}'])
def test_a_body_that_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid):
        Message.from_bytes(body)


@given(body=st.binary(max_size=100))
def test_any_bytes_that_are_not_a_message_are_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid):
        Message.from_bytes(body)


@given(changes=st.data())
def test_any_member_may_be_anything(document: dict[str, Any], changes: st.DataObject) -> None:
    """A message that is accepted can be written again, so no later step fails with it."""
    member = changes.draw(st.sampled_from(sorted(document)))
    body = json.dumps(document | {member: changes.draw(JSON)}).encode()
    try:
        message = Message.from_bytes(body)
    except MessageInvalid:
        return
    assert Message.from_bytes(message.to_bytes()) == message
