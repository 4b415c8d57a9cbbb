"""The parts of a JSON schema that the writer shows, whatever a client put there instead."""

from collections.abc import Mapping, Sequence
from typing import Any

type Schema = Mapping[str, Any]


def parameters_of(tool: Schema) -> Schema:
    """Return the schema of a tool's arguments. `tool` is in OpenAI's form or its `function` alone."""
    return as_schema(function_of(tool).get("parameters"))


def function_of(tool: Schema) -> Schema:
    """Return the `function` of a tool in OpenAI's form."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else tool


def name_of(tool: Schema) -> str:
    """Return a tool's name."""
    return str(function_of(tool)["name"])


def as_schema(value: object) -> Schema:
    """Return `value` where it is a schema that says something, else the schema that says nothing."""
    return value if isinstance(value, Mapping) else {}


def properties_of(schema: Schema) -> Schema:
    """Return the schemas of an object's properties by name."""
    return as_schema(schema.get("properties"))


def required_of(schema: Schema) -> list[str]:
    """Return the names of the properties that must be given."""
    return [name for name in list_of(schema, "required") if isinstance(name, str)]


def list_of(schema: Schema, key: str) -> Sequence[Any]:
    """Return the list under `key`, empty where there is none."""
    value = schema.get(key)
    return value if isinstance(value, list) else []


def number_of(schema: Schema, key: str) -> int | float | None:
    """Return the number under `key`."""
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def types_of(schema: Schema) -> list[str]:
    """Return the names under `type`."""
    value = schema.get("type")
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def options_of(schema: Schema) -> list[Schema]:
    """Return the alternatives that a schema allows, where it lists any."""
    options = list_of(schema, "anyOf") or list_of(schema, "oneOf")
    return [option for option in options if isinstance(option, Mapping)]
