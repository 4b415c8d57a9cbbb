"""Which tools a request offers, and which of them it wants called. Source: OpenAI's API reference, tool_choice."""

from collections.abc import Sequence
from typing import Any

from bridge.errors import InvalidRequest
from tools.choices import ToolChoice, named
from tools.definitions import ToolDefinition, names_of

_WORDS = ("auto", "none", "required")


def offer(
    tools: Sequence[ToolDefinition], choice: str | dict[str, Any] | None
) -> tuple[list[ToolDefinition], ToolChoice | None]:
    """Return the tools on offer and the choice among them. Raises InvalidRequest.

    `allowed_tools` becomes an offer of those tools alone: upstreams other than OpenAI do not know it.
    """
    names = names_of(tools)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InvalidRequest(f"two tools are named {name!r}", param=f"tools[{position}]")
    if choice is None:
        return list(tools), None
    if isinstance(choice, str):
        return list(tools), _word(choice, names)
    kind = choice.get("type")
    if kind == "allowed_tools":
        return _allowed(tools, choice)
    if kind == "custom":
        raise InvalidRequest("custom tools are not supported; use function tools", param="tool_choice.type")
    chosen = _name(choice)
    if kind not in (None, "function") or chosen is None:
        raise InvalidRequest(
            "tool_choice must name a function: {type: function, function: {name}}", param="tool_choice"
        )
    if chosen not in names:
        raise InvalidRequest(f"tool_choice names {chosen!r}, which is not among tools", param="tool_choice")
    return list(tools), named(chosen)


def _word(word: str, names: Sequence[str]) -> str:
    if word not in _WORDS:
        raise InvalidRequest(f"tool_choice {word!r} is none of {', '.join(_WORDS)}", param="tool_choice")
    if word == "required" and not names:
        raise InvalidRequest("tool_choice is required, and there are no tools", param="tool_choice")
    return word


def _name(choice: dict[str, Any]) -> str | None:
    """Return the name of the function that `choice` names: nested in chat completions, flat in responses."""
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else choice.get("name")
    return name if isinstance(name, str) else None


def _allowed(tools: Sequence[ToolDefinition], choice: dict[str, Any]) -> tuple[list[ToolDefinition], ToolChoice | None]:
    nested = choice.get("allowed_tools")
    allowed = nested if isinstance(nested, dict) else choice
    mode, entries = allowed.get("mode"), allowed.get("tools")
    if mode not in ("auto", "required") or not isinstance(entries, list) or not entries:
        raise InvalidRequest(
            "allowed_tools must have a mode (auto or required) and at least one of the tools", param="tool_choice"
        )
    wanted = [_name(entry) if isinstance(entry, dict) else None for entry in entries]
    for position, name in enumerate(wanted):
        if name not in names_of(tools):
            raise InvalidRequest(
                f"tool_choice allows {name!r}, which is not among tools", param=f"tool_choice.tools[{position}]"
            )
    return [tool for tool in tools if tool.name in wanted], mode
