"""A JSON schema as a plain tree: references followed, `allOf` folded into one."""

from collections.abc import Mapping
from typing import Any

from tools.openclaw_text.schema_parts import Schema, list_of, properties_of, required_of

#: What is shown where it applies, and the places where schemas are kept only to be referred to.
_FOLLOWED = {"$ref", "allOf", "$defs", "definitions"}
#: What holds schemas under names, and what holds values.
_BY_NAME = {"properties", "patternProperties"}
_VALUES = {"enum", "const", "default", "examples", "required"}
_DEEPEST = 24
_MOST_PARTS = 5000


def plain_schema(root: Schema) -> Schema:
    """Return `root` without `$ref` and `allOf`.

    What refers to itself is any object there, and what is nested too deep or grows too large says nothing: a model
    could not make use of it either.
    """
    plain = _Expansion(root).plain(root, ())
    return plain if isinstance(plain, dict) else {}


class _Expansion:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._parts = 0

    def plain(self, part: object, inside: tuple[str, ...], depth: int = 0) -> Any:
        """Return `part` expanded. `inside` are the references that led here."""
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            return None
        if isinstance(part, list):
            return [self.plain(one, inside, depth + 1) for one in part]
        if not isinstance(part, Mapping):
            return part
        here = {key: self._below(key, part[key], inside, depth + 1) for key in part if key not in _FOLLOWED}
        if isinstance(reference := part.get("$ref"), str):
            here = {**self._referred(reference, inside, depth), **here}
        more = [self.plain(one, inside, depth + 1) for one in list_of(part, "allOf")[:_MOST_PARTS]]
        return _folded([here, *(one for one in more if isinstance(one, dict))])

    def _below(self, key: str, value: object, inside: tuple[str, ...], depth: int) -> Any:
        if key in _VALUES:
            return value
        if key in _BY_NAME and isinstance(value, Mapping):
            return {name: self.plain(part, inside, depth + 1) for name, part in value.items()}
        return self.plain(value, inside, depth)

    def _referred(self, reference: str, inside: tuple[str, ...], depth: int) -> dict[str, Any]:
        if reference in inside:
            return {"type": "object"}
        target = self.plain(_pointed_at(self._root, reference), (*inside, reference), depth + 1)
        return target if isinstance(target, dict) else {}


def _folded(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one schema for several that all hold; of what two of them say, the first counts."""
    if len(parts) == 1:
        return parts[0]
    folded: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: dict[str, None] = {}
    for part in parts:
        for key, value in part.items():
            folded.setdefault(key, value)
        for name, value in properties_of(part).items():
            properties.setdefault(name, value)
        # The same list may stand in many parts, where they refer to one.
        if len(required) <= _MOST_PARTS:
            required.update(dict.fromkeys(required_of(part)))
    folded["required"] = list(required)
    return {**folded, "properties": properties} if properties else folded


def _pointed_at(root: Schema, reference: str) -> Any:
    target: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        target = target.get(step) if isinstance(target, Mapping) else None
    return target
