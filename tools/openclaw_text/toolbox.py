"""The declared tools, as the reader needs them: by the names that models write, with their schemas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tools.openclaw_text.schema import Schema

#: Models put these in front of a name, and a call's number behind it.
_DECORATED = re.compile(r"(?:(?:functions?|tools?|default_api)[.:])?(.+?)(?::\d+)?", re.DOTALL)


@dataclass(slots=True)
class Call:
    """A call of a declared tool with arguments that fit its schema."""

    name: str
    arguments: dict[str, Any]


class NotACallError(Exception):
    """This is text: no declared tool is called."""


class BrokenCallError(Exception):
    """A declared tool is called in a way that cannot be carried out."""

    def __init__(self, name: str, reason: str, arguments: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason
        self.arguments = arguments


type Item = Call | BrokenCallError


class Toolbox:
    """What may be called. `tools` are definitions in OpenAI's form; what is not one is left out."""

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._schemas: dict[str, Schema] = {}
        #: The last name that was found to be declared.
        self.named: str | None = None
        for tool in tools:
            function = tool.get("function", tool)
            name = function.get("name") if isinstance(function, Mapping) else None
            if isinstance(name, str) and name:
                self._schemas[name] = Schema(function.get("parameters"))

    @property
    def names(self) -> list[str]:
        """The declared names in order."""
        return list(self._schemas)

    def resolve(self, written: object) -> str | None:
        """Return the declared name that was meant, if it was written out. Names are never repaired."""
        if not isinstance(written, str):
            return None
        name = written.strip()
        if name in self._schemas:
            return name
        match = _DECORATED.fullmatch(name)
        bare = match.group(1) if match else name
        return bare if bare in self._schemas else None

    def declared(self, written: object) -> str:
        """Return the declared name. Raises `NotACallError`."""
        name = self.resolve(written)
        if name is None:
            raise NotACallError
        self.named = name
        return name

    def schema(self, name: str) -> Schema:
        """The schema of a declared tool's parameters."""
        return self._schemas[name]

    def call(self, name: str, values: Mapping[str, Any]) -> Call:
        """Make a call of a declared tool. Raises `BrokenCallError` when the schema refuses the arguments."""
        schema = self._schemas[name]
        arguments = schema.arguments(values)
        if complaint := schema.complaint(arguments):
            raise BrokenCallError(name, complaint, arguments)
        return Call(name, arguments)
