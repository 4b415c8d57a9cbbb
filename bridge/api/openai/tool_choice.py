"""Which tools a request offers, and which of them it wants called. Source: OpenAI's API reference, tool_choice.

Chat completions nest what responses write flat:

    {type: function, function: {name}}                   {type: function, name}
    {type: allowed_tools, allowed_tools: {mode, tools}}  {type: allowed_tools, mode, tools}

The kinds of tools that responses know beside functions, taken as functions, and their calls given back as they came.

    kind                                      on offer as                      its call is given back as
    ----------------------------------------  -------------------------------  ----------------------------------
    function                                  itself                           function_call
    namespace of functions                    `<namespace>__<name>` each       function_call, name plus namespace
    custom                                    a function of one text, `input`  custom_tool_call
    local_shell                               a function of its action         local_shell_call
    shell, but in a container of OpenAI's     a function of its action         shell_call
    apply_patch                               a function of its operation      apply_patch_call
    tool_search that the client executes      a function                       tool_search_call
    computer                                  not at all: models are trained   -
                                              to point at a screen
    web_search and all that OpenAI's servers  not at all: nobody here can      -
    run themselves                            run it

Source: OpenAI's API reference, responses, its Python SDK 3.57.0, and requests of Codex 0.169.0.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bridge.api.openai.chat_messages import Part
from bridge.api.openai.legacy import FunctionName
from bridge.errors import InvalidRequest
from tools.calls import arguments_of
from tools.choices import ToolChoice, forced_name, named
from tools.definitions import Function, ToolDefinition, names_of

Kind = Literal["function", "custom", "local_shell", "shell", "apply_patch", "tool_search"]

_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_BUILT_IN: dict[str, dict[str, Any]] = {
    "local_shell": {
        "description": "Run a command on the user's machine.",
        "parameters": {
            "type": "object",
            "properties": {
                "command": {"type": "array", "items": {"type": "string"}},
                "working_directory": {"type": "string"},
                "timeout_ms": {"type": "integer"},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["command"],
        },
    },
    "shell": {
        "description": "Run commands in a shell on the user's machine.",
        "parameters": {
            "type": "object",
            "properties": {
                "commands": {"type": "array", "items": {"type": "string"}},
                "timeout_ms": {"type": "integer"},
                "max_output_length": {"type": "integer"},
            },
            "required": ["commands"],
        },
    },
    "apply_patch": {
        "description": "Create, change or delete a file on the user's machine. In `diff` lines begin with ` `, `-` "
        "or `+`, as in a unified diff without its headers. In a new file all begin with `+`. A change has hunks, each "
        "behind a line `@@`, with some lines around what changes. What is to be deleted needs no `diff`.",
        "parameters": {
            "type": "object",
            "properties": {
                "operation": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                        "path": {"type": "string"},
                        "diff": {"type": "string"},
                    },
                    "required": ["type", "path"],
                }
            },
            "required": ["operation"],
        },
    },
}
"""The tools whose form OpenAI's models know: here they are functions."""

CALL_IDS: dict[Kind, str] = {
    "function": "fc",
    "custom": "ctc",
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
    "tool_search": "tsc",
}
"""What the id of a call's item begins with; the call's own follows."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a function on offer is to its client."""

    kind: Kind = "function"
    name: str = ""
    namespace: str | None = None


def flat_name(name: str, namespace: str | None) -> str:
    """Return the name under which the model knows a function."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def functions_of(tool: Any) -> Iterator[tuple[str, dict[str, Any], Origin]]:
    """Yield the functions that a tool is, each with its path in the tool. What nobody here can run is none."""
    if not isinstance(tool, Mapping):
        return
    match tool.get("type"):
        case "namespace":
            inner = tool.get("tools")
            space = str(tool.get("name") or "")
            for position, each in enumerate(inner if isinstance(inner, list) else []):
                for below, function, origin in functions_of(each):
                    flat = function | {"name": flat_name(str(function.get("name") or ""), space)}
                    yield f".tools[{position}]{below}", flat, replace(origin, namespace=space)
        case "function":
            yield "", dict(tool), Origin(name=str(tool.get("name")))
        case "custom":
            yield "", _custom(tool), Origin("custom", str(tool.get("name")))
        case "local_shell" | "shell" | "apply_patch" as kind if not _is_hosted(tool):
            yield "", {"name": kind, **_BUILT_IN[kind]}, Origin(kind, kind)
        case "tool_search" as kind if tool.get("execution") == "client" and tool.get("parameters"):
            yield "", {**tool, "name": kind}, Origin(kind, kind)


def _is_hosted(tool: Mapping[str, Any]) -> bool:
    environment = tool.get("environment")
    return isinstance(environment, Mapping) and str(environment.get("type")).startswith("container")


def left_out(tools: Iterable[Any]) -> list[str]:
    """Return the kinds of tools that nobody here can run."""
    return [str(tool.get("type")) for tool in tools if isinstance(tool, Mapping) and not _is_taken(tool)]


def note_of(kinds: Iterable[str]) -> str | None:
    """Return what is said of tools of these kinds, which were left out, None where there are none."""
    told = ", ".join(dict.fromkeys(kinds))
    return f"tools that nobody here can run were left out: {told}" if told else None


def _is_taken(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") in {"namespace", "function"} or any(functions_of(tool))


def _custom(tool: Mapping[str, Any]) -> dict[str, Any]:
    given = tool.get("format")
    grammar = given.get("definition") if isinstance(given, Mapping) else None
    says = [str(tool.get("description") or ""), f"`input` follows this grammar:\n{grammar}" if grammar else ""]
    return {"name": tool.get("name"), "description": "\n\n".join(filter(None, says)) or None, "parameters": _CUSTOM}


def echoed(tools: Iterable[Any]) -> list[dict[str, Any]]:
    """Return tools as a response repeats them."""
    return [
        {"type": "function", **Function.model_validate(tool).model_dump()} if tool.get("type") == "function" else tool
        for tool in tools
    ]


def origins_of(tools: Iterable[Any]) -> dict[str, Origin]:
    """Return what each function on offer is to its client, by the name that the model knows."""
    return {str(function.get("name")): origin for tool in tools for _, function, origin in functions_of(tool)}


def call_item(origin: Origin, call_id: str, arguments: str) -> dict[str, Any]:
    """Return the item that asks the client for a call, but for its status."""
    said = arguments_of(arguments) or {}
    item: dict[str, Any] = {"id": f"{CALL_IDS[origin.kind]}_{call_id}", "call_id": call_id}
    match origin.kind:
        case "custom":
            text = said.get("input", arguments)
            body = {"name": origin.name, "input": text if isinstance(text, str) else json.dumps(text)}
            item |= {"type": "custom_tool_call", **body}
        case "local_shell":
            return item | {"type": "local_shell_call", "action": {"type": "exec", "env": {}, **said}}
        case "shell":
            action = {"commands": [], "timeout_ms": None, "max_output_length": None, **said}
            return item | {"type": "shell_call", "action": action, "environment": {"type": "local"}}
        case "apply_patch":
            return item | {"type": "apply_patch_call", "operation": said.get("operation", said)}
        case "tool_search":
            return item | {"type": "tool_search_call", "execution": "client", "arguments": said}
        case "function":
            item |= {"type": "function_call", "name": origin.name, "arguments": arguments}
    return item | ({"namespace": origin.namespace} if origin.namespace else {})


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


class BuiltInTool(Part):
    """A tool that is to be called and has no other name than its type."""

    type: Literal["local_shell", "shell", "apply_patch"]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.type


def _kind(choice: Any) -> Any:
    if isinstance(choice, str):
        return "word"
    return choice.get("type", "function") if isinstance(choice, dict) else getattr(choice, "type", None)


_FlatTool = (
    Annotated[FlatNamedTool, Tag("function")]
    | Annotated[FlatNamedTool, Tag("custom")]
    | Annotated[BuiltInTool, Tag("local_shell")]
    | Annotated[BuiltInTool, Tag("shell")]
    | Annotated[BuiltInTool, Tag("apply_patch")]
)


class FlatAllowedTools(Part):
    """Only some of the tools may be called, as responses name them."""

    type: Literal["allowed_tools"]
    mode: Mode
    tools: list[Annotated[_FlatTool, Discriminator(_kind)]] = Field(min_length=1)


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
    Annotated[Word, Tag("word")] | _FlatTool | Annotated[FlatAllowedTools, Tag("allowed_tools")],
    _BY_KIND,
]


def offer(
    tools: Sequence[ToolDefinition],
    choice: str | NamedTool | AllowedTools | FlatNamedTool | BuiltInTool | FlatAllowedTools | ToolChoice | None,
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
        case NamedTool() | FlatNamedTool() | BuiltInTool():
            choice = named(choice.name)
        case "required" if not names:
            raise InvalidRequest("tool_choice is required, and there are no tools", param="tool_choice")
    chosen = forced_name(choice)
    if chosen is not None and chosen not in names:
        raise InvalidRequest(f"tool_choice names {chosen!r}, which is not among tools", param="tool_choice")
    return list(tools), choice


def _allowed(
    tools: Sequence[ToolDefinition], mode: Mode, entries: Sequence[NamedTool | FlatNamedTool | BuiltInTool], path: str
) -> tuple[list[ToolDefinition], ToolChoice]:
    names, wanted = set(names_of(tools)), {entry.name for entry in entries}
    for position, entry in enumerate(entries):
        if (name := entry.name) not in names:
            raise InvalidRequest(f"tool_choice allows {name!r}, which is not among tools", param=f"{path}[{position}]")
    return [tool for tool in tools if tool.name in wanted], mode
