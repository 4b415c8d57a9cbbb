"""The worked example: a call of one of the declared tools, with arguments its schema allows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tools.openclaw_text.plain_schema import plain_schema
from tools.openclaw_text.schema_parts import (
    Schema,
    as_schema,
    list_of,
    name_of,
    number_of,
    options_of,
    parameters_of,
    properties_of,
    required_of,
    types_of,
)

# A model may repeat the example as it stands, so what only looks comes before what changes something.
_HARMLESS = re.compile(r"(?:^|[_.-])(?:read|get|list|ls|search|find|fetch|query|show|lookup)", re.IGNORECASE)
_TEXTS = {
    "path": "notes.txt",
    "file": "notes.txt",
    "filename": "notes.txt",
    "command": "ls",
    "city": "Berlin",
    "location": "Berlin",
    "query": "opening hours",
    "url": "https://example.com",
    "date": "2026-01-31",
    "text": "Hello",
    "message": "Hello",
    "content": "Hello",
    "expression": "2 + 3",
}
_DEEPEST = 6


def example_call(tools: Sequence[Schema]) -> tuple[str, dict[str, Any]]:
    """Return a call of the tool that is easiest to show: harmless, with one or few required parameters."""
    chosen = min(tools, key=_difficulty)
    arguments = _value("", plain_schema(parameters_of(chosen)), 0)
    return name_of(chosen), arguments if isinstance(arguments, dict) else {}


def _difficulty(tool: Schema) -> tuple[bool, int, bool]:
    schema = plain_schema(parameters_of(tool))
    required = required_of(schema)
    shapes = [types_of(as_schema(properties_of(schema).get(name))) for name in required]
    nested = any(shape not in (["string"], ["integer"], ["number"]) for shape in shapes)
    return nested, abs(len(required) - 1), not _HARMLESS.search(name_of(tool))


def _value(name: str, schema: object, depth: int) -> Any:
    """Return a value that `schema` allows, as far as types, choices and bounds go."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {} if depth > _DEEPEST else "..."
    if "const" in schema:
        return schema["const"]
    if choices := list_of(schema, "enum") or list_of(schema, "examples"):
        return choices[0]
    if "default" in schema:
        return schema["default"]
    if options := options_of(schema):
        return _value(name, options[0], depth + 1)
    kinds = types_of(schema) or ["object" if depth == 0 or "properties" in schema else "string"]
    return _of_type(kinds[0], name, schema, depth)


def _of_type(kind: str, name: str, schema: Schema, depth: int) -> Any:
    if kind == "object":
        properties = properties_of(schema)
        return {key: _value(key, properties.get(key), depth + 1) for key in required_of(schema)}
    if kind == "array":
        return [_value(name.removesuffix("s"), schema.get("items"), depth + 1)]
    if kind in {"integer", "number"}:
        return max(1, number_of(schema, "minimum") or 1)
    if kind == "boolean":
        return True
    return None if kind == "null" else _TEXTS.get(name.lower(), "...")
