"""What a request asks for, whichever of the endpoint's two languages it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.results import Message, ToolResult


@dataclass(frozen=True, slots=True)
class Ask:
    """A request in the terms of chat completions.

    `body` is the request as it came, for what tells sessions apart. `results` are results that came beside the
    transcript. `one_call` says that the client takes one call at a time. `follows` is the run that the client says it
    goes on with: no other's calls are answered.
    """

    model: str
    body: Mapping[str, Any]
    messages: list[Message]
    tools: list[ToolDefinition] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    results: list[ToolResult] = field(default_factory=list)
    one_call: bool = False
    follows: str | None = None
