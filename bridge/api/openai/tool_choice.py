"""Which tools a request offers, and which of them it wants called. Source: OpenAI's API reference, tool_choice.

Chat completions nest what responses write flat:

    {type: function, function: {name}}                   {type: function, name}
    {type: allowed_tools, allowed_tools: {mode, tools}}  {type: allowed_tools, mode, tools}
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bridge.api.openai.chat_messages import Part
from bridge.api.openai.legacy import FunctionName
from bridge.errors import InvalidRequest
from tools.choices import ToolChoice, forced_name, named
from tools.definitions import ToolDefinition, names_of

Word = Literal["none", "auto", "required"]
Mode = Literal["auto", "required"]


class NamedTool(Part):
    """A function that is to be called."""

    type: Literal["function"] = "function"
    function: FunctionName

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name


class Allowed(Part):
    """The tools that may be called, and whether one must be."""

    mode: Mode
    tools: list[NamedTool] = Field(min_length=1)


class AllowedTools(Part):
    """Only some of the tools may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


class FlatNamedTool(Part):
    """A function or custom tool that is to be called, as responses name it."""

    type: Literal["function", "custom"] = "function"
    name: str = Field(min_length=1)


class FlatAllowedTools(Part):
    """Only some of the tools may be called, as responses name them."""

    type: Literal["allowed_tools"]
    mode: Mode
    tools: list[FlatNamedTool] = Field(min_length=1)


def _kind(choice: Any) -> Any:
    if isinstance(choice, str):
        return "word"
    return choice.get("type", "function") if isinstance(choice, dict) else getattr(choice, "type", None)


_BY_KIND = Discriminator(
    _kind,
    custom_error_type="union_tag_unknown",
    custom_error_message="must be none, auto, required, or an object of the type function or allowed_tools",
)
ChatToolChoice = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    _BY_KIND,
]
FlatToolChoice = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[FlatNamedTool, Tag("function")]
    | Annotated[FlatNamedTool, Tag("custom")]
    | Annotated[FlatAllowedTools, Tag("allowed_tools")],
    _BY_KIND,
]


def offer(
    tools: Sequence[ToolDefinition],
    choice: str | NamedTool | AllowedTools | FlatNamedTool | FlatAllowedTools | ToolChoice | None,
) -> tuple[list[ToolDefinition], ToolChoice | None]:
    """Return the tools on offer and the choice among them. Raises InvalidRequest where these do not fit.

    `allowed_tools` becomes an offer of those tools alone: upstreams other than OpenAI do not know it.
    """
    names: dict[str, None] = {}
    for position, name in enumerate(names_of(tools)):
        if name in names:
            raise InvalidRequest(f"two tools are named {name!r}", param=f"tools[{position}]")
        names[name] = None
    match choice:
        case AllowedTools(allowed_tools=allowed):
            return _allowed(tools, allowed.mode, allowed.tools, "tool_choice.allowed_tools.tools")
        case FlatAllowedTools():
            return _allowed(tools, choice.mode, choice.tools, "tool_choice.tools")
        case NamedTool() | FlatNamedTool():
            choice = named(choice.name)
        case "required" if not names:
            raise InvalidRequest("tool_choice is required, and there are no tools", param="tool_choice")
    chosen = forced_name(choice)
    if chosen is not None and chosen not in names:
        raise InvalidRequest(f"tool_choice names {chosen!r}, which is not among tools", param="tool_choice")
    return list(tools), choice


def _allowed(
    tools: Sequence[ToolDefinition], mode: Mode, entries: Sequence[NamedTool | FlatNamedTool], path: str
) -> tuple[list[ToolDefinition], ToolChoice]:
    names, wanted = set(names_of(tools)), {entry.name for entry in entries}
    for position, entry in enumerate(entries):
        if (name := entry.name) not in names:
            raise InvalidRequest(f"tool_choice allows {name!r}, which is not among tools", param=f"{path}[{position}]")
    return [tool for tool in tools if tool.name in wanted], mode
