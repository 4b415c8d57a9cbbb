"""Arguments that were written as text are typed by the tool's JSON schema, as far as tools.schema_walk goes.

tools.arguments mends values of JSON where only one meaning is possible, and refuses the others. Here a text has no type
yet: Python's words and literals are read too, and what cannot be read stays a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tools.arguments import checked
from tools.openclaw_text.python_text import BadPythonError, literal
from tools.schema_walk import Walk

DEPTH_CAP = 32
_LONGEST_REFERENCE = 1000
_MOST_FORMS = 64
_MOST_LOOKED_AT = 256

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_INTEGER = re.compile(r"[-+]?\d{1,400}")
_NUMBER = re.compile(r"[-+]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][-+]?\d{1,3})?")


class NoValue:
    """That a text cannot be read as the type that is wanted."""


NO_VALUE = NoValue()


class Schema:
    """A tool's `parameters`, with its `$ref`s resolved as they are met."""

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        self._root = parameters if isinstance(parameters, Mapping) else {}
        # By the identity of the parts of the root, which live as long as it does.
        self._forms: dict[int, list[Mapping[str, Any]]] = {}
        self._kinds: dict[int, list[str]] = {}

    @property
    def names(self) -> list[str]:
        """The parameters' names in order."""
        return list(self._properties(self._root))

    @property
    def required(self) -> list[str]:
        """The names of the parameters that must be there."""
        required = self._root.get("required")
        return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []

    def of(self, name: str) -> Mapping[str, Any] | None:
        """The schema of a parameter; None when nothing is said about it."""
        return self.below(self._root, name)

    def below(self, schema: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
        """The schema of a property of an object of this `schema`."""
        for choice in self._choices(schema):
            found = self._properties(choice).get(name)
            if isinstance(found, Mapping):
                return found
        for choice in self._choices(schema):
            additional = choice.get("additionalProperties")
            if isinstance(additional, Mapping):
                return additional
        return None

    def items(self, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The schema of an array's items."""
        for choice in self._choices(schema):
            found = choice.get("items")
            if isinstance(found, Mapping):
                return found
        return None

    def types(self, schema: Mapping[str, Any] | None) -> list[str]:
        """The types a value of this `schema` may have, in its order; none when it may have any."""
        if schema is None:
            return []
        if id(schema) not in self._kinds:
            self._kinds[id(schema)] = self._types(schema)
        return self._kinds[id(schema)]

    def _types(self, schema: Mapping[str, Any]) -> list[str]:
        found: list[str] = []
        for choice in self._choices(schema):
            stated = choice.get("type")
            if stated is None:
                stated = _implied(choice)
            names = stated if isinstance(stated, list) else [stated]
            found += [name for name in dict.fromkeys(map(str, names)) if name in _TYPES and name not in found]
        return found

    def read(self, text: str, schema: Mapping[str, Any] | None, *, loose: bool) -> Any:
        """Read a value that was written as bare text: a string stays one unless the schema wants something else.

        Without a schema the text is a value if `loose` and it can be read as one, else a string.
        """
        types = self.types(schema)
        if not types:
            value = _literal(text.strip()) if loose else NO_VALUE
            return text if isinstance(value, NoValue | str) else value
        value = _as_one_of(text, types)
        return text if isinstance(value, NoValue) else self.settle(value, schema)

    def settle(self, value: Any, schema: Mapping[str, Any] | None) -> Any:
        """Give a value, and what is in it, the types of the `schema` where the meaning is the same."""
        return self._settle(value, schema, Walk(self._root), 0)

    def _settle(self, value: Any, schema: Mapping[str, Any] | None, walk: Walk, depth: int) -> Any:
        if depth > DEPTH_CAP or not (walk.goes_on() and walk.affords(2 + len(self._choices(schema)))):
            return value
        types = self.types(schema)
        if isinstance(value, str) and types and "string" not in types:
            read = _as_one_of(value, types) if walk.affords(len(value) // 100) else NO_VALUE
            value = value if isinstance(read, NoValue) else read
        elif isinstance(value, float) and value.is_integer() and types == ["integer"]:
            value = int(value)
        if isinstance(value, dict):
            return {
                name: item if walk.over else self._settle(item, self.below(schema, name), walk, depth + 1)
                for name, item in value.items()
            }
        if isinstance(value, list):
            inner = self.items(schema)
            return [item if walk.over else self._settle(item, inner, walk, depth + 1) for item in value]
        return value

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Type a whole call's arguments."""
        walk = Walk(self._root)
        return {
            name: value if walk.over else self._settle(value, self.of(name), walk, 0) for name, value in values.items()
        }

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """Say what is wrong with typed arguments; None when nothing is."""
        return checked(json.dumps(values, ensure_ascii=False), self._root).problem

    def _choices(self, schema: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
        """Every form that the schema offers: itself, or what its `anyOf` and `$ref` lead to."""
        if schema is None:
            return []
        if id(schema) not in self._forms:
            self._forms[id(schema)] = self._offered(schema)
        return self._forms[id(schema)]

    def _offered(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """List the forms, the first that many of them: what refers to itself offers them without end."""
        forms: list[Mapping[str, Any]] = []
        waiting: list[Any] = [schema]
        for _ in range(_MOST_LOOKED_AT):
            if not waiting or len(forms) >= _MOST_FORMS:
                break
            one = waiting.pop()
            if not isinstance(one, Mapping):
                continue
            reference = one.get("$ref")
            if isinstance(reference, str):
                waiting.append(self._resolve(reference))
            elif "type" not in one and (offered := _first_list(one, "anyOf", "oneOf", "allOf")) is not None:
                waiting.extend(reversed(offered[:_MOST_LOOKED_AT]))
            else:
                forms.append(one)
        return forms

    def _resolve(self, reference: str) -> Mapping[str, Any] | None:
        if len(reference) > _LONGEST_REFERENCE:
            return None
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else None

    def _properties(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        properties = schema.get("properties")
        return properties if isinstance(properties, Mapping) else {}


def _first_list(schema: Mapping[str, Any], *words: str) -> list[Any] | None:
    return next((schema[word] for word in words if isinstance(schema.get(word), list)), None)


def _as_one_of(text: str, types: list[str]) -> Any:
    read = (_as_type(text, wanted) for wanted in sorted(types, key=_specific))
    return next((value for value in read if not isinstance(value, NoValue)), NO_VALUE)


def _implied(schema: Mapping[str, Any]) -> str | list[str] | None:
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = _enum(schema)
    return [name for name in _TYPES if any(_is(value, name) for value in values)]


def _enum(schema: Mapping[str, Any]) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float) and name == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _specific(name: str) -> int:
    return ["null", "boolean", "integer", "number", "array", "object", "string"].index(name)


def _as_type(text: str, wanted: str) -> Any:
    bare = text.strip()
    if wanted == "string":
        return text
    if wanted in ("boolean", "null"):
        value = _WORDS.get(bare.lower(), NO_VALUE)
        return value if _is(value, wanted) else NO_VALUE
    if wanted == "integer":
        return _integer(bare)
    if wanted == "number":
        return _number(bare)
    value = _literal(bare)
    return value if isinstance(value, _TYPES[wanted]) else NO_VALUE


def _integer(bare: str) -> int | NoValue:
    if _INTEGER.fullmatch(bare):
        return int(bare)
    number = _number(bare)
    return int(number) if isinstance(number, float) and number.is_integer() else NO_VALUE


def _number(bare: str) -> int | float | NoValue:
    if _INTEGER.fullmatch(bare):
        return int(bare)
    if not _NUMBER.fullmatch(bare):
        return NO_VALUE
    number = float(bare)
    return number if number not in (float("inf"), float("-inf")) else NO_VALUE


def _literal(bare: str) -> Any:
    """Read JSON, or else a Python literal."""
    if bare.lower() in _WORDS:
        return _WORDS[bare.lower()]
    if bare[:1] not in '{["-0123456789':
        return NO_VALUE
    try:
        return json.loads(bare, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _python_literal(bare)


def _refuse(word: str) -> None:
    raise ValueError(word)


def _python_literal(bare: str) -> Any:
    if bare[:1] not in "{[":
        return NO_VALUE
    try:
        return literal(bare)
    except BadPythonError:
        return NO_VALUE
