"""Derives JSON Schemas from the types of documents: from their fields, type hints and descriptions."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from beholder.documents import Form, is_document, members_of

__all__ = ["ref", "schema_name", "schema_of", "schemas_of"]

_Schema = dict[str, Any]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_NAMES = {"ServedModel": "Model"}


def ref(kind: str, name: str) -> _Schema:
    """Return a reference to a component, such as one of the kind 'schemas'."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema_name(cls: type) -> str:
    """Return the name of a class's schema in the OpenAPI document."""
    return _NAMES.get(cls.__name__) or cls.__name__.removesuffix("Document")


def schemas_of(documents: Iterable[type]) -> dict[str, _Schema]:
    """Return the schemas of document classes, and of the classes that they contain, by name."""
    found: dict[str, _Schema] = {}
    awaited = list(documents)
    while awaited:
        cls = awaited.pop(0)
        if schema_name(cls) not in found:
            found[schema_name(cls)] = schema_of(cls)
            awaited += [part for one in members_of(cls) for part in _classes(one.hint)]
    return found


def schema_of(cls: type) -> _Schema:
    """Return the schema of a document class."""
    properties = {one.name: _schema(one.hint) for one in members_of(cls)}
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
        "properties": properties,
        "required": list(properties),
    }


def _classes(hint: Any) -> list[type]:
    return [hint] if is_document(hint) else [one for part in get_args(hint) for one in _classes(part)]


def _schema(hint: Any) -> _Schema:
    origin = get_origin(hint)
    if origin is not None:
        return _MAKERS[origin](*get_args(hint))
    if is_document(hint):
        return ref("schemas", schema_name(hint))
    if issubclass(hint, Enum):
        return {"type": "string", "enum": [one.value for one in hint]}
    return {"type": _TYPES[hint]}


def _annotated(hint: Any, *about: Any) -> _Schema:
    """Return the schema of a type with its bounds and its description."""
    keywords: _Schema = {}
    for one in about:
        if isinstance(one, str):
            keywords["description"] = one
        elif isinstance(one, Form):
            keywords |= one._asdict()
    schema = _schema(str if keywords.get("format") else hint)
    return schema | {name: value for name, value in keywords.items() if value is not None}


def _or_null(hint: Any, _: type[None]) -> _Schema:
    schema = _schema(hint)
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def _literal(*values: str) -> _Schema:
    return {"const": values[0]} if len(values) == 1 else {"type": "string", "enum": list(values)}


def _array(hint: Any, *_: Any) -> _Schema:
    return {"type": "array", "items": _schema(hint)}


def _mapping(key: Any, value: Any) -> _Schema:
    if not issubclass(key, Enum):
        return {"type": "object", "additionalProperties": _schema(value)}
    names = [one.value for one in key]
    return {"type": "object", "properties": dict.fromkeys(names, _schema(value)), "required": names}


_MAKERS: dict[Any, Callable[..., _Schema]] = {
    Annotated: _annotated,
    Union: _or_null,
    UnionType: _or_null,
    Literal: _literal,
    tuple: _array,
    Mapping: _mapping,
}
