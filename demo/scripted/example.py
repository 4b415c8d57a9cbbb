"""The smallest value that a JSON Schema allows, for calls and JSON answers that no script describes."""

from collections.abc import Mapping
from typing import Any

_EMPTY: dict[str, Any] = {"string": "", "number": 0, "integer": 0, "boolean": False, "array": [], "null": None}
_DEEPEST = 20
_LONGEST = 100  # whatever a schema asks for


def example_of(schema: Any, depth: int = 0) -> Any:
    """A value for the schema: its required properties alone, the first of its choices. `$ref` is not followed."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if "enum" in schema:
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return example_of(schema[keyword][0], depth + 1)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example_of(properties.get(name, {}), depth + 1) for name in schema.get("required", ())}
    if kind == "array" and schema.get("minItems"):
        return [example_of(schema.get("items"), depth + 1)] * min(schema["minItems"], _LONGEST)
    if kind in ("number", "integer"):
        return schema.get("minimum", 0)
    return "x" * min(schema.get("minLength", 0), _LONGEST) if kind == "string" else _EMPTY[kind]
