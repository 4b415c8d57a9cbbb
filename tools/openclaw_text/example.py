"""The worked example: a call of one of the declared tools, with arguments its schema allows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

type Schema = Mapping[str, Any]

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
    functions = [tool.get("function", tool) for tool in tools]
    chosen = min(functions, key=_difficulty)
    arguments = _value("", chosen.get("parameters") or {}, 0)
    return chosen["name"], arguments if isinstance(arguments, dict) else {}


def _difficulty(function: Schema) -> tuple[bool, int, bool]:
    schema = function.get("parameters") or {}
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    nested = any((properties.get(name) or {}).get("type") not in {"string", "integer", "number"} for name in required)
    return nested, abs(len(required) - 1), not _HARMLESS.search(function["name"])


def _value(name: str, schema: object, depth: int) -> Any:
    """Return a value that `schema` allows, as far as types, choices and bounds go."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {} if depth > _DEEPEST else "..."
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _value(name, schema[key][0], depth + 1)
    kind = schema.get("type") or ("object" if depth == 0 or "properties" in schema else "string")
    return _of_type(kind[0] if isinstance(kind, list) else kind, name, schema, depth)


def _of_type(kind: str, name: str, schema: Schema, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        return {key: _value(key, properties.get(key), depth + 1) for key in schema.get("required") or ()}
    if kind == "array":
        return [_value(name.removesuffix("s"), schema.get("items"), depth + 1)]
    if kind in {"integer", "number"}:
        return max(1, schema.get("minimum", 1))
    if kind == "boolean":
        return True
    return None if kind == "null" else _TEXTS.get(name.lower(), "...")
