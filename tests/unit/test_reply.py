"""A reply carries documents byte for byte; any other body is refused."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.job.reply import Reply, bundled

CALLS = {"s3:PutObject": 4, "sqs:ReceiveMessage": 1}


@given(
    st.lists(st.binary(max_size=60)),
    st.dictionaries(st.from_regex(r"\A[a-z0-9]{1,4}:[A-Z]{1,4}\Z"), st.integers(0)),
)
def test_a_reply_is_read_back(documents: list[bytes], calls: dict[str, int]) -> None:
    reply = Reply(tuple(documents), calls)
    assert Reply.from_bytes(reply.to_bytes()) == reply


def test_the_wire_form_is_json_that_contains_the_documents_byte_for_byte() -> None:
    body = Reply((b'{"id": "a"}', '{"id":"ü"}'.encode()), CALLS).to_bytes()
    assert json.loads(body) == {"v": 1, "calls": CALLS, "sizes": [11, 11], "jobs": [{"id": "a"}, {"id": "ü"}]}
    assert b'{"id": "a"}' in body


GOOD = Reply((b"{}", b"[]"), CALLS).to_bytes()
GARBAGE = {
    "empty": b"",
    "not text": b"\xff",
    "not an object": b"[]",
    "too deep": b"[" * 100_000,
    "a bare job": b'{"id": "a", "status": "succeeded"}',
    "another version": GOOD.replace(b'"v":1', b'"v":2'),
    "no jobs": b'{"v":1,"calls":{},"sizes":[]}',
    "cut off": GOOD[:-3],
    "more than its sizes": GOOD + b" ",
    "a size that is a text": GOOD.replace(b"[2,2]", b'["2",2]'),
    "a size below zero": GOOD.replace(b"[2,2]", b"[-2,7]"),
    "too few sizes": GOOD.replace(b"[2,2]", b"[2]"),
    "a count that is a text": GOOD.replace(b"4", b'"4"'),
    "a count below zero": GOOD.replace(b"4", b"-4"),
    "a call without a service": GOOD.replace(b"s3:PutObject", b"s3 PutObject"),
    "a list of calls": b'{"v":1,"calls":[],"sizes":[],"jobs":[]}',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_a_body_that_is_not_a_reply_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"reply|Expecting|codec|decode"):
        Reply.from_bytes(body)


@given(st.lists(st.integers(1, 150_000), max_size=12))
def test_bundles_hold_every_document_in_order_and_as_many_as_a_queue_takes(sizes: list[int]) -> None:
    documents = [bytes(size) for size in sizes]
    bundles = list(bundled(documents))
    assert [document for bundle in bundles for document in bundle] == documents
    assert all(bundle and sum(map(len, bundle)) <= 200_000 for bundle in bundles)
    assert all(
        sum(map(len, first)) + len(second[0]) > 200_000 for first, second in itertools.pairwise(bundles)
    )


def test_a_document_longer_than_any_bundle_is_a_bundle_of_its_own() -> None:
    assert [len(bundle) for bundle in bundled([b"a", bytes(300_000), b"b", b"c"])] == [1, 1, 2]
