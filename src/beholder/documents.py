"""Documents: JSON objects whose members are the fields of a frozen dataclass, which are declared once.

`to_document` and `from_document` follow the type hints of the class. A text in `Annotated` describes a field;
`web.openapi.json_schema` derives the JSON Schema from hints and descriptions.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = [
    "Count",
    "Form",
    "NotNegative",
    "Probability",
    "Time",
    "from_document",
    "is_document",
    "known_members",
    "members_of",
    "to_document",
]

_Document = TypeVar("_Document")
_Convert = Callable[[Any], Any]
_EPOCH = datetime.fromtimestamp(0, UTC)


class Form(NamedTuple):
    """Constraints that a member's type does not express; the fields are keywords of JSON Schema."""

    minimum: float | None = None
    maximum: float | None = None
    format: str | None = None


_TIME = Form(format="date-time")
Count = Annotated[int, Form(minimum=0)]
NotNegative = Annotated[float, Form(minimum=0)]
Probability = Annotated[float, Form(minimum=0, maximum=1)]
Time = Annotated[float, _TIME]
"""Seconds since the Unix epoch; in a document it is RFC 3339 text, and the member's name has no `_s`."""


def to_document(value: Any) -> dict[str, Any]:
    """Return the document of a dataclass; every field is a member."""
    cls: Any = type(value)
    document = {}
    for field, name, write in _writing(cls):
        found = getattr(value, field)
        document[name] = found if write is None or found is None else write(found)
    return document


def from_document(cls: Callable[..., _Document], document: Any) -> _Document:
    """Read a document; a member may be missing if its field has a default, and none may be unknown.

    Raises:
        TypeError: A member is missing or unknown, or has the wrong type.
        ValueError: A member has a value that its type does not allow.
    """
    if not isinstance(document, dict):
        raise TypeError(f"{cls} is {document!r:.80}")
    values = document.copy()
    for name, field, read in _reading(cls):
        if name in document:
            value = values.pop(name)
            values[field] = value if value is None else read(value)
    return cls(**values)


def known_members(cls: Any, document: Any) -> Any:
    """Return a document without the members, at any depth, that a later version of a class has added."""
    if isinstance(document, list):
        return [known_members(cls, one) for one in document]
    if not isinstance(document, dict) or not is_document(cls):
        return document
    found = {
        one.name: (_plain(one.hint), document[one.name]) for one in members_of(cls) if one.name in document
    }
    return {name: known_members(_item(hint), value) for name, (hint, value) in found.items()}


def _item(hint: Any) -> Any:
    """Return the type of a member, or of its items."""
    return get_args(hint)[0] if get_origin(hint) is tuple else hint


class Member(NamedTuple):
    """A member of a document: the field that it is written from, its name in JSON, and its type."""

    field: str
    name: str
    hint: Any


@cache
def members_of(cls: Any) -> tuple[Member, ...]:
    """Return the members of a dataclass's documents, in their order."""
    hints = get_type_hints(cls, include_extras=True)
    names = [one.name for one in fields(cls)]
    return tuple(
        Member(name, name.removesuffix("_s") if _plain(hints[name]) == Time else name, hints[name])
        for name in names
    )


def is_document(hint: Any) -> TypeGuard[type]:
    """Return whether a type hint is a document class."""
    return isinstance(hint, type) and is_dataclass(hint)


@cache
def _writing(cls: Any) -> tuple[tuple[str, str, _Convert | None], ...]:
    return tuple((one.field, one.name, _writer(one.hint)) for one in members_of(cls))


@cache
def _reading(cls: Any) -> tuple[tuple[str, str, _Convert], ...]:
    """Return the members that need a conversion, their fields, and the conversions."""
    readers = [(one.name, one.field, _reader(one.hint)) for one in members_of(cls)]
    return tuple((name, field, read) for name, field, read in readers if read is not None)


def _writer(hint: Any) -> _Convert | None:
    """Return the conversion of a value of this type to JSON; None if it needs none."""
    plain = _plain(hint)
    if plain == Time:
        return _time_text
    if get_origin(plain) is tuple:
        item = _writer(get_args(plain)[0])
        return list if item is None else lambda values: [item(value) for value in values]
    if get_origin(plain) is Mapping:
        return dict
    return to_document if is_document(plain) else None


def _reader(hint: Any) -> _Convert | None:
    """Return the conversion of JSON to a value of this type; None if it needs none."""
    plain = _plain(hint)
    if plain == Time:
        return _time_of
    if get_origin(plain) is tuple:
        item = _reader(get_args(plain)[0])
        return tuple if item is None else lambda values: tuple(item(value) for value in values)
    if is_document(plain):
        # No member needs a conversion, and the dataclass itself refuses missing and unknown members.
        return partial(from_document, plain) if _reading(plain) else lambda document: plain(**document)
    return plain if isinstance(plain, type) and issubclass(plain, Enum) else None


def _plain(hint: Any) -> Any:
    """Return a type hint without None, bounds and description; `Time` stays as it is."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Time if _TIME in parts else _plain(parts[0])
    if origin in {Union, UnionType}:
        return _plain(next(one for one in parts if one is not type(None)))
    return hint


def _time_text(time_s: float) -> str:
    # Rounded, not truncated, so that a time that was read gives the same text again.
    rounded = _EPOCH + timedelta(milliseconds=round(time_s * 1000))
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
