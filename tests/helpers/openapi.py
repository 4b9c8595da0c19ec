"""Checks a value by a schema of the OpenAPI document."""

from typing import Any

__all__ = ["faults", "resolve", "schema"]


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


_KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "boolean": bool,
}


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """Return where `value` breaks `schema`; knows the keywords that the document uses."""
    schema = resolve(document, schema)
    found: list[str] = []
    for part in schema.get("allOf", []):
        found += faults(document, part, value, at)
    options = [faults(document, part, value, at) for part in schema.get("anyOf", [])]
    if options and all(options):
        found += min(options, key=len)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, _KINDS[kind]) for kind in kinds):
        return [*found, f"{at} is {value!r}, not {kinds}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at} is {value!r}, not in {schema['enum']}")
    if isinstance(value, dict):
        found += member_faults(document, schema, value, at)
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += faults(document, schema.get("items", {}), item, f"{at}[{index}]")
    if isinstance(value, int | float):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        found += [] if low <= value <= high else [f"{at} is {value}, not {low} to {high}"]
    return found


def member_faults(
    document: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str
) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
    if properties and "type" in schema:
        found += [f"{at}.{name} is not described" for name in value if name not in properties]
    for name in value.keys() & properties.keys():
        found += faults(document, properties[name], value[name], f"{at}.{name}")
    return found


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found
