"""JSON Schemas made of the types of documents: their fields, type hints and docstrings."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from beholder.documents import is_document, members_of

__all__ = ["ref", "schema_name", "schema_of", "schemas_of"]

_Schema = dict[str, Any]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_NAMES = {"ServedModel": "Model"}
_FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)


def ref(kind: str, name: str) -> _Schema:
    """Return a reference to a component; `kind` is such as 'schemas'."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema_name(cls: type) -> str:
    """Return the name under which the OpenAPI document has the schema of a class."""
    return _NAMES.get(cls.__name__) or cls.__name__.removesuffix("Document")


def schemas_of(documents: Iterable[type]) -> dict[str, _Schema]:
    """Return the schemas of classes of documents, and of those that they are made of, by name."""
    found: dict[str, _Schema] = {}
    awaited = list(documents)
    while awaited:
        cls = awaited.pop(0)
        if schema_name(cls) not in found:
            found[schema_name(cls)] = schema_of(cls)
            awaited += [part for one in members_of(cls) for part in _classes(one.hint)]
    return found


def schema_of(cls: type) -> _Schema:
    """Return the schema of a class of documents; its descriptions are those of its docstring."""
    description, of_fields = _descriptions(cls)
    properties = {
        one.name: {**_schema(one.hint), "description": of_fields.get(one.field, "")}
        for one in members_of(cls)
    }
    return {
        "type": "object",
        "description": description,
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


def _annotated(hint: Any, form: Any) -> _Schema:
    keywords = {name: value for name, value in asdict(form).items() if value is not None}
    return _schema(str if "format" in keywords else hint) | keywords


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


def _descriptions(cls: type) -> tuple[str, dict[str, str]]:
    """Return what a docstring in Google's convention says of a class and of each field."""
    text, _, args = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")
    _, *names_and_texts = _FIELD.split(args)
    of_fields = {
        name: " ".join(said.split())
        for name, said in zip(names_and_texts[::2], names_and_texts[1::2], strict=True)
    }
    return " ".join(text.split("\n\n")[0].split()), of_fields
