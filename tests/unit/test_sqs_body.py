"""Bodies as SQS takes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.queue.sqs_body import ENCODING, binary_bytes_max, decoded, encoded, size_bytes_of

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_ALLOWED = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


@given(st.binary())
def test_any_bytes_come_back_from_what_sqs_allows(body: bytes) -> None:
    text, attributes = encoded(body)
    assert _ALLOWED.fullmatch(text)
    assert decoded(text, attributes) == body


@given(st.text())
def test_any_text_comes_back(body: str) -> None:
    text, attributes = encoded(body.encode())
    assert _ALLOWED.fullmatch(text)
    assert decoded(text, attributes) == body.encode()


@pytest.mark.parametrize("body", [b'{"id": 1}', "köln ☃ 😀\r\n".encode(), b"aGVsbG8=", b"="])
def test_text_travels_as_it_is(body: bytes) -> None:
    assert encoded(body) == (body.decode(), {})


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff", b"bell \x07", "\ufffe".encode(), "\uffff".encode()])
def test_what_sqs_refuses_travels_as_base64(body: bytes) -> None:
    _, attributes = encoded(body)
    assert attributes[ENCODING]["StringValue"] == "base64"


@pytest.mark.parametrize("text", ["no base64!", "abc", "käse"])
def test_what_is_marked_wrongly_is_text(text: str) -> None:
    marked = {ENCODING: {"DataType": "String", "StringValue": "base64"}}
    assert decoded(text, marked) == text.encode()


@pytest.mark.parametrize("message_bytes_max", [1024, 262_144, 1_048_576])
def test_the_longest_binary_body_fits_and_three_more_bytes_do_not(message_bytes_max: int) -> None:
    longest = binary_bytes_max(message_bytes_max)
    assert size_bytes_of(*encoded(b"\xff" * longest)) <= message_bytes_max
    assert size_bytes_of(*encoded(b"\xff" * (longest + 3))) > message_bytes_max


def test_attributes_count_with_name_type_and_value() -> None:
    assert size_bytes_of("é", {"ab": {"DataType": "String", "StringValue": "xyz"}}) == 2 + 2 + 6 + 3
