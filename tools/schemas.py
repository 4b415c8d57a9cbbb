"""Makes of any tool's schema one that strict upstreams take.

What is taken away costs nothing: the arguments that come back are checked against the original (tools.arguments).
Refused by one or the other: keywords that JSON Schema does not have, an array without `items`, choices at the top
level, counts beyond what a grammar can hold (llama.cpp: 2000), patterns without anchors, or with `(?`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tools.definitions import ToolDefinition

Schema = dict[str, Any]

DEEPEST = 40
LARGEST_COUNT = 1000

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_PLAIN = ("title", "description", "default", "const", "examples", "format", "$ref")
_FLAGS = ("uniqueItems", "deprecated", "readOnly", "writeOnly")


def for_upstream(tool: ToolDefinition, name: str | None = None) -> ToolDefinition:
    """Return the definition as it should go upstream, under another name if one is given; `tool` stays as it is."""
    function = tool.function.model_copy(
        update={"name": name or tool.name, "parameters": normalised(tool.function.parameters)}
    )
    return tool.model_copy(update={"function": function})


def normalised(parameters: object) -> Schema:
    """Return an object schema that strict upstreams take; where there is no schema at all, that of no arguments."""
    schema = _schema(parameters, 0)
    choices = [branch for word in ("allOf", "anyOf", "oneOf") for branch in schema.pop(word, ())]
    for word in ("enum", "not", "const", "if", "then", "else"):
        schema.pop(word, None)
    schema["type"] = "object"
    properties: Schema = dict(schema.get("properties") or {})
    for branch in reversed(choices):
        # Of what two branches say of one property, the last counts; what is said beside them comes before both.
        if isinstance(branch, dict):
            for name, rule in (branch.get("properties") or {}).items():
                properties.setdefault(name, rule)
    schema["properties"] = properties
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name in properties]
    return schema


def _schema(given: object, depth: int) -> Schema:
    if not isinstance(given, Mapping) or depth > DEEPEST:
        return {}
    schema: Schema = {word: given[word] for word in _PLAIN if word in given}
    _take_types(schema, given)
    _take_facts(schema, given)
    for word in _ONE:
        if word in given:
            _take_one(schema, word, given[word], depth)
    for word in _LISTS:
        if isinstance(given.get(word), list) and given[word]:
            schema[word] = [_schema(inner, depth + 1) for inner in given[word]]
    for word in _MAPS:
        if isinstance(given.get(word), Mapping):
            schema[word] = {str(name): _schema(inner, depth + 1) for name, inner in given[word].items()}
    if "array" in _kinds(schema) and "items" not in schema:
        schema["items"] = {}
    return schema


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]


def _take_types(schema: Schema, given: Mapping[str, Any]) -> None:
    kinds = given.get("type")
    known = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind in _TYPES]
    if known:
        schema["type"] = known if isinstance(kinds, list) and len(known) > 1 else known[0]
    if isinstance(given.get("enum"), list) and given["enum"]:
        schema["enum"] = given["enum"]
    required = given.get("required")
    if isinstance(required, list):
        schema["required"] = list(dict.fromkeys(name for name in required if isinstance(name, str)))


def _take_facts(schema: Schema, given: Mapping[str, Any]) -> None:
    for word in _COUNTS:
        if type(given.get(word)) is int and 0 <= given[word] <= LARGEST_COUNT:
            schema[word] = given[word]
    for word in _NUMBERS:
        if type(given.get(word)) in {int, float}:
            schema[word] = given[word]
    for word in _FLAGS:
        if isinstance(given.get(word), bool):
            schema[word] = given[word]
    _take_texts(schema, given)


def _take_texts(schema: Schema, given: Mapping[str, Any]) -> None:
    pattern = given.get("pattern")
    if isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$") and "(?" not in pattern:
        schema["pattern"] = pattern
    for word in ("title", "description", "format", "$ref"):
        if not isinstance(schema.get(word, ""), str):
            del schema[word]
    if not isinstance(schema.get("examples", []), list):
        del schema["examples"]
    if not re.match(r"^#(/|$)", schema.get("$ref", "#")):
        del schema["$ref"]


def _take_one(schema: Schema, word: str, inner: object, depth: int) -> None:
    if word == "items" and isinstance(inner, list):
        schema[word] = {"anyOf": [_schema(each, depth + 1) for each in inner]} if inner else {}
    elif isinstance(inner, bool):
        if word == "additionalProperties":
            schema[word] = inner
    elif isinstance(inner, Mapping):
        schema[word] = _schema(inner, depth + 1)


BOUNDS = frozenset({*_COUNTS, *_NUMBERS, "pattern", "format", "uniqueItems", "patternProperties", "propertyNames"})
"""Words without which a schema says the same of which arguments there are."""


def _rewritten(write: Callable[[Schema], Schema], schema: Any) -> Any:
    """Return a schema with each one inside written otherwise, and then itself."""
    if not isinstance(schema, dict):
        return schema
    inner = {
        word: {name: _rewritten(write, each) for name, each in value.items()}
        if word in _MAPS
        else [_rewritten(write, each) for each in value]
        if word in _LISTS
        else _rewritten(write, value)
        if word in _ONE
        else value
        for word, value in schema.items()
    }
    return write(inner)


def typed(schema: Any) -> Any:
    """Return a schema in which each one inside has a type: Moonshot refuses one without."""
    return _rewritten(_with_type, schema)


def _with_type(schema: Schema) -> Schema:
    choice = next((word for word in _LISTS[:3] if word in schema), None)
    if choice and "type" in schema:
        # Of both, Moonshot wants it in the branches alone.
        branches = [_of_kind(branch, schema["type"]) for branch in schema[choice]]
        return {word: value for word, value in schema.items() if word != "type"} | {choice: branches}
    if choice or not schema.keys().isdisjoint({"type", "$ref"}):
        return schema
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    implied = next((kind for word, kind in _IMPLIED.items() if word in schema), None)
    kind = _TYPE_OF.get(type(values[0])) if values else implied
    return schema | ({"type": kind} if kind else _ANYTHING)


def _of_kind(branch: Any, kind: Any) -> Any:
    if not isinstance(branch, dict) or branch.get("anyOf") != _ANYTHING["anyOf"]:
        return branch
    return {word: value for word, value in branch.items() if word != "anyOf"} | {"type": kind}


_ANYTHING = {"anyOf": [{"type": kind} for kind in ("object", "string", "number", "boolean")]}
_TYPE_OF = {
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    str: "string",
    type(None): "null",
}
_IMPLIED = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "minProperties", "maxProperties"), "object"),
    **dict.fromkeys(("items", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(_NUMBERS, "number"),
}


def without_empty_objects(schema: Any) -> Any:
    """Return a schema in which each object inside has a property: Gemini refuses one without, and takes it as text."""

    def filled(schema: Schema) -> Schema:
        is_empty = schema.get("type") == "object" and not schema.get("properties")
        return {**schema, "type": "string"} if is_empty else schema

    return _rewritten(filled, schema)


LISTED_TYPES = "type list"
"""Stands among the words of a schema for a `type` that is a list."""

_DEFINITIONS = frozenset({"$ref", "$defs", "definitions"})
_MEANS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
WORDS = frozenset({*_ONE, *_LISTS, *_MAPS, *_COUNTS, *_NUMBERS, *_PLAIN, *_FLAGS, "pattern", "enum", LISTED_TYPES}) - {
    "properties",
    "items",
    "description",
}


def without(schema: Any, words: frozenset[str]) -> Any:
    """Return a schema that says without `words` what can be said without them; references are followed."""
    if words & _DEFINITIONS:
        words |= _DEFINITIONS
    return _without(schema, words, schema, 0) if isinstance(schema, dict) else schema


def _without(given: Any, words: frozenset[str], root: Schema, depth: int) -> Any:
    if not isinstance(given, dict) or depth > DEEPEST:
        return given if isinstance(given, bool) else {}
    if "$ref" in given and "$ref" in words:
        return _without(_target(given["$ref"], root), words, root, depth + 5)
    schema: Schema = {}
    for word in [word for word in given if word not in words]:
        schema[word] = _inner(word, given[word], words, root, depth + 1)
    return _said_otherwise(schema, given, words, root, depth)


def _inner(word: str, value: Any, words: frozenset[str], root: Schema, depth: int) -> Any:
    if word in _MAPS:
        return {name: _without(inner, words, root, depth) for name, inner in value.items()}
    if word in _LISTS:
        return [_without(inner, words, root, depth) for inner in value]
    return _without(value, words, root, depth) if word in _ONE else value


def _said_otherwise(schema: Schema, given: Schema, words: frozenset[str], root: Schema, depth: int) -> Schema:
    for word in words & given.keys():
        if word == "const" and "enum" not in words:
            schema["enum"] = [given[word]]
        elif word in _MEANS:
            schema.setdefault(_MEANS[word], given[word])
        elif word in {"oneOf", "anyOf", "allOf"}:
            schema = _first(given[word], words, root, depth) | schema
    if LISTED_TYPES in words and isinstance(schema.get("type"), list):
        schema["type"] = next((kind for kind in schema["type"] if kind != "null"), "string")
        if schema["type"] == "array":
            schema.setdefault("items", {})
    return schema


def _first(branches: Any, words: frozenset[str], root: Schema, depth: int) -> Schema:
    kinds = [_without(branch, words, root, depth + 1) for branch in branches]
    return dict(next((kind for kind in kinds if isinstance(kind, dict) and kind.get("type") != "null"), {}))


def _target(reference: str, root: Schema) -> Any:
    target: Any = root
    for name in filter(None, reference.removeprefix("#").split("/")):
        target = target.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    return target or {}


def words_of(schema: Any) -> set[str]:
    """Return the words that a schema uses."""
    words: set[str] = set()
    waiting = [schema]
    while waiting:
        given = waiting.pop()
        if not isinstance(given, dict):
            continue
        words |= given.keys() & WORDS
        if isinstance(given.get("type"), list):
            words.add(LISTED_TYPES)
        for word, value in given.items():
            waiting += value.values() if word in _MAPS else value if word in _LISTS else [value] if word in _ONE else []
    return words
