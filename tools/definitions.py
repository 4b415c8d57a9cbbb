"""What a tool is: a name, a description and a JSON schema, in OpenAI's form."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-zA-Z0-9_.:-]{1,128}$"


class Function(BaseModel):
    """The `function` object of a tool definition. `parameters` is a JSON schema of type object."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=128, pattern=NAME_PATTERN)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(BaseModel):
    """One entry of the `tools` array of a chat completion request."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function"] = "function"
    function: Function

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name

    def to_openai(self) -> dict[str, Any]:
        """Return the definition as it goes upstream; absent fields stay absent."""
        function = self.function.model_dump(exclude_none=True)
        function.setdefault("parameters", {"type": "object", "properties": {}})
        return {"type": "function", "function": function}


def names_of(tools: Iterable[ToolDefinition]) -> list[str]:
    """Return the names in order."""
    return [tool.name for tool in tools]


def allow(tools: Sequence[ToolDefinition], patterns: str, also: Mapping[str, str]) -> list[ToolDefinition]:
    """Keep the tools whose name, or other name in `also`, matches one of the comma-separated glob `patterns`.

    Empty patterns allow everything. A pattern that starts with `!` takes away again.
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    keep = [pattern for pattern in wanted if not pattern.startswith("!")] or ["*"]
    drop = [pattern[1:] for pattern in wanted if pattern.startswith("!")]

    def matches(name: str, globs: list[str]) -> bool:
        return any(fnmatchcase(name, glob) or fnmatchcase(also.get(name, ""), glob) for glob in globs)

    return [tool for tool in tools if matches(tool.name, keep) and not matches(tool.name, drop)]
