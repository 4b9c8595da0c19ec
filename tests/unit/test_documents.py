"""Documents follow the type hints of their dataclass, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from beholder.documents import Count, Time, from_document, to_document


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    name: str
    made_at_s: Time | None = None


@dataclass(frozen=True)
class Whole:
    wait_s: float
    colour: Colour = Colour.RED
    parts: tuple[Part, ...] = ()
    first: Part | None = None
    counts: Mapping[str, Count] = field(default_factory=dict)


WHOLE = Whole(1.5, Colour.RED, (Part("a", 0.25), Part("b")), Part("c"), {"x": 1})
DOCUMENT = {
    "wait_s": 1.5,
    "colour": "red",
    "parts": [{"name": "a", "made_at": "1970-01-01T00:00:00.250Z"}, {"name": "b", "made_at": None}],
    "first": {"name": "c", "made_at": None},
    "counts": {"x": 1},
}


def test_a_document_has_every_field_and_is_read_back() -> None:
    assert to_document(WHOLE) == DOCUMENT
    assert from_document(Whole, DOCUMENT) == WHOLE


def test_a_member_may_be_missing_where_its_field_has_a_default() -> None:
    assert from_document(Whole, {"wait_s": 0.0}) == Whole(0.0)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"wait_s": 1.0, "new": 1},
        {"wait_s": 1.0, "first": []},
        {"wait_s": 1.0, "first": {}},
        {"wait_s": 1.0, "parts": 5},
        {"wait_s": 1.0, "parts": [{"name": "a", "made_at": 5}]},
        {"wait_s": 1.0, "parts": [{"name": "a", "made_at": "soon"}]},
        {"wait_s": 1.0, "colour": "blue"},
    ],
    ids=str,
)
def test_what_is_no_document_of_a_class_is_refused(document: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_document(Whole, document)
