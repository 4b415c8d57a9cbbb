"""What OpenAI refuses in tool definitions and in tool_choice."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from demo.scripted.refusal import Refusal

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_TOOLS = 128
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}

# The vocabulary of JSON Schema draft 2020-12 and the older words still in use: https://json-schema.org/draft/2020-12/schema
_KEYWORDS = frozenset(
    re.findall(
        r"\S+",
        """
        $schema $id $ref $anchor $dynamicRef $dynamicAnchor $vocabulary $comment $defs definitions title
        description default deprecated readOnly writeOnly examples type enum const multipleOf maximum
        exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern format contentEncoding
        contentMediaType contentSchema items prefixItems additionalItems contains maxContains minContains
        maxItems minItems uniqueItems unevaluatedItems properties patternProperties additionalProperties
        propertyNames unevaluatedProperties maxProperties minProperties required dependencies
        dependentRequired dependentSchemas if then else allOf anyOf oneOf not nullable
        """,
    )
)
_ONE_SCHEMA = {"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"}
_SCHEMA_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SCHEMA_MAPS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_NOT_AT_THE_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")


def check_function_name(name: object, path: str) -> str:
    """The name, if it is one. Raises `Refusal`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal(f"{path} must be 1 to 64 letters, digits, '_' or '-', not {name!r}.", param=path)
    return name


def check_tools(tools: object, *, known_keywords_only: bool) -> Sequence[Mapping[str, Any]]:
    """The tool definitions, if all are sound. Raises `Refusal`."""
    if not isinstance(tools, list) or not 1 <= len(tools) <= _MOST_TOOLS:
        raise Refusal(f"tools must be an array of 1 to {_MOST_TOOLS} tools.", param="tools")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = _check_tool(tool, f"tools[{index}]", known_keywords_only)
        if name in names:
            raise Refusal(f"tools[{index}].function.name: a tool named '{name}' is already there.", param="tools")
        names.add(name)
    return tools


def check_tool_choice(choice: object, tools: Sequence[Mapping[str, Any]]) -> str:
    """`auto`, `none`, `required`, or `=NAME`. Raises `Refusal`."""
    if not tools:
        raise Refusal("tool_choice is allowed only where tools are given.", param="tool_choice")
    if choice in ("auto", "none", "required"):
        return str(choice)
    named = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if not isinstance(named, dict):
        raise Refusal(
            "tool_choice must be 'auto', 'none', 'required' or {'type': 'function', 'function': {'name': ...}}.",
            param="tool_choice",
        )
    name = check_function_name(named.get("name"), "tool_choice.function.name")
    if all(tool["function"]["name"] != name for tool in tools):
        raise Refusal(f"tool_choice names '{name}', which is not among the tools.", param="tool_choice")
    return f"={name}"


def check_object_schema(schema: object, path: str, *, known_keywords_only: bool) -> None:
    """Refuses what is not the schema of an object, with all schemas inside it."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise _invalid(path, "it must be a JSON Schema whose type is 'object'")
    for keyword in _NOT_AT_THE_TOP:
        if keyword in schema:
            raise _invalid(path, f"'{keyword}' is not allowed at its top level")
    _check_schema(schema, path, known_keywords_only)


def _check_tool(tool: object, path: str, known_keywords_only: bool) -> str:
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
        raise Refusal(f"{path} must be {{'type': 'function', 'function': {{...}}}}.", param=path)
    function = tool["function"]
    name = check_function_name(function.get("name"), f"{path}.function.name")
    unknown = (tool.keys() - {"type", "function"}) | (function.keys() - {"name", "description", "parameters", "strict"})
    if unknown:
        raise Refusal(f"{path} has unknown fields: {', '.join(sorted(unknown))}.", param=path, code="unknown_parameter")
    if not isinstance(function.get("description", ""), str):
        raise Refusal(f"{path}.function.description must be a string.", param=f"{path}.function.description")
    if not isinstance(function.get("strict"), bool | None):
        raise Refusal(f"{path}.function.strict must be a boolean.", param=f"{path}.function.strict")
    if "parameters" in function:
        check_object_schema(
            function["parameters"], f"{path}.function.parameters", known_keywords_only=known_keywords_only
        )
    return name


def _check_schema(schema: object, path: str, known_keywords_only: bool) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _invalid(path, "a schema must be an object or a boolean")
    _check_words(schema, path, known_keywords_only)
    for name, inner in _inner_schemas(schema, path):
        _check_schema(inner, f"{path}.{name}", known_keywords_only)


def _inner_schemas(schema: dict[str, Any], path: str) -> Iterator[tuple[str, object]]:
    for keyword in _ONE_SCHEMA & schema.keys():
        yield keyword, schema[keyword]
    for keyword in _SCHEMA_LISTS & schema.keys():
        if not isinstance(schema[keyword], list) or not schema[keyword]:
            raise _invalid(path, f"'{keyword}' must be a list of at least one schema")
        yield from ((f"{keyword}[{index}]", inner) for index, inner in enumerate(schema[keyword]))
    for keyword in _SCHEMA_MAPS & schema.keys():
        if not isinstance(schema[keyword], dict):
            raise _invalid(path, f"'{keyword}' must be an object of schemas")
        yield from ((f"{keyword}.{name}", inner) for name, inner in schema[keyword].items())


def _check_words(schema: dict[str, Any], path: str, known_keywords_only: bool) -> None:
    if known_keywords_only and (unknown := schema.keys() - _KEYWORDS):
        raise _invalid(path, f"unknown keywords: {', '.join(sorted(unknown))}")
    kind = schema.get("type", "object")
    kinds = kind if isinstance(kind, list) and kind else [kind]
    if not all(isinstance(each, str) and each in _TYPES for each in kinds):
        raise _invalid(path, f"'type' cannot be {kind!r}")
    if "array" in kinds and "items" not in schema and "prefixItems" not in schema:
        raise _invalid(path, "an array schema needs 'items'")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _invalid(path, "'required' must be a list of strings")
    if len(set(required)) < len(required):
        raise _invalid(path, "'required' names a property twice")
    for keyword in _COUNTS & schema.keys():
        if type(schema[keyword]) is not int or schema[keyword] < 0:
            raise _invalid(path, f"'{keyword}' must be a count")
    if not isinstance(schema.get("enum", [0]), list) or not schema.get("enum", [0]):
        raise _invalid(path, "'enum' must be a list of at least one value")


def _invalid(path: str, why: str) -> Refusal:
    return Refusal(f"{path} is not a valid schema: {why}.", param=path, code="invalid_function_parameters")
